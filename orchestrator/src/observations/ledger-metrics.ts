import { dayOf } from '@avatar/contracts'
import type { LedgerReader } from '@avatar/job-kit'
import type { Foundation, Instruments } from '@avatar/service-kit'
import type { OrchestratorConfig } from '../config.ts'

const microsPerUnit = 1_000_000

/**
 * Tells what the ledger says is spent, and whether the providers' bills are right. Nothing is computed here,
 * and no owner is named. Metrics whose name says dollars exist only where that is the currency.
 */
export function observeLedger({
  metrics,
  clock,
  ledger,
  config,
}: Pick<Foundation<OrchestratorConfig>, 'metrics' | 'clock' | 'config'> & {
  ledger: LedgerReader
}): void {
  const instruments = metrics.of('orchestrator')
  const today = () => ledger.usage().spentOn(dayOf(clock.nowMs()))
  instruments.usage_today_gpu_seconds.observe((tell) => tell(today().gpuSeconds))
  instruments.usage_today_amount.observe((tell) => tell(today().micros / microsPerUnit))
  instruments.bill_difference_ratio.observe((tell) => {
    for (const { pool, ratio } of ledger.usage().billDifferences()) tell(ratio, { pool })
  })
  if (config.CURRENCY === 'USD') observeDollars(instruments, { clock, ledger, config })
}

function observeDollars(
  instruments: Instruments<'orchestrator'>,
  deps: Pick<Foundation<OrchestratorConfig>, 'clock' | 'config'> & { ledger: LedgerReader },
) {
  const { clock, ledger, config } = deps
  const { SERVICE_BUDGET_PER_DAY: budgetMicros } = config
  instruments.cost_usd.observe((tell) => {
    const day = dayOf(clock.nowMs())
    const usage = ledger.usage()
    tell(usage.spentOn(day).micros / microsPerUnit, { period: 'day' })
    tell(usage.spentToDateIn(day).micros / microsPerUnit, { period: 'month' })
  })
  instruments.budget_usd.observe((tell) => {
    if (budgetMicros !== undefined) tell(budgetMicros / microsPerUnit, { period: 'day' })
  })
  let readAtMs: number | undefined
  instruments.cost_updated_timestamp_seconds.observe((tell) => {
    if (ledger.isReady?.()) readAtMs = clock.nowMs()
    if (readAtMs !== undefined) tell(readAtMs / 1000)
  })
}
