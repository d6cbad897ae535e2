import {
  type CostView,
  chargedOf,
  costMicros,
  dearestPriceMicros,
  formatMicros,
  isTerminal,
  type JobRecord,
} from '@avatar/contracts'
import type { IngestConfig } from './config.ts'

type MoneyConfig = Pick<IngestConfig, 'POOL_PRICES' | 'CURRENCY'>

/** What the owner of a job is charged for it so far. */
export function costView(
  job: Pick<JobRecord, 'state' | 'spent'>,
  { POOL_PRICES: prices, CURRENCY: currency }: MoneyConfig,
): CostView {
  if (Object.keys(prices).length === 0) return null
  const { gpuSeconds, micros } = chargedOf(job)
  return {
    gpu_seconds: Math.round(gpuSeconds * 10) / 10,
    amount: formatMicros(micros),
    currency,
    is_final: isTerminal(job),
  }
}

/** What a job is expected to cost, wherever it is rendered. */
export function estimatedCostView(
  { estimatedSeconds }: Pick<JobRecord, 'estimatedSeconds'>,
  { POOL_PRICES: prices, CURRENCY: currency }: MoneyConfig,
): { amount: string; currency: string } | null {
  if (Object.keys(prices).length === 0) return null
  const micros = costMicros(estimatedSeconds, dearestPriceMicros(prices))
  return { amount: formatMicros(micros), currency }
}
