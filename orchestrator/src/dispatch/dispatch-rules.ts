import { dayOf, type FairRules, isServiceBudgetSpent, priceMicrosOf } from '@avatar/contracts'
import {
  defaultLimitsOf,
  fairRulesOf,
  followLedger,
  openOwnerLimits,
  ownerLimits,
} from '@avatar/job-kit'
import { type Foundation, type Runnable, together } from '@avatar/service-kit'
import type { OrchestratorConfig } from '../config.ts'
import { observeLedger } from '../observations/ledger-metrics.ts'

/** What the operator allows, and what pools cost, at the moment of a choice. */
export type DispatchRules = FairRules & {
  /** The price of one GPU second of a pool, in millionths of the currency. */
  priceMicrosOf(pool: string): number
  /** Whether the service's budget of the day is spent: then only pools that cost nothing start jobs. */
  isBudgetSpent(): boolean
  /** What the service has spent today, UTC, and may spend, in millionths; undefined until that is known. */
  money(): { spentToday: number; budgetPerDay: number | undefined } | undefined
}

/** The rules, and the part that keeps them up to date by the operator's limits and this month's postings. */
export async function createDispatchRules(
  foundation: Foundation<OrchestratorConfig>,
): Promise<{ rules: DispatchRules; following: Runnable }> {
  const { config, bus, clock, log } = foundation
  const limits = ownerLimits({ records: await openOwnerLimits(bus), clock, log })
  const ledger = followLedger(foundation)
  observeLedger({ ...foundation, ledger })
  const rules = {
    ...fairRulesOf({ ...foundation, limits, ledger, defaults: defaultLimitsOf(config) }),
    priceMicrosOf: (pool: string) => priceMicrosOf(config.POOL_PRICES, pool),
    isBudgetSpent: () =>
      isServiceBudgetSpent(
        { budgetPerDayMicros: config.SERVICE_BUDGET_PER_DAY },
        ledger.usage(),
        clock.nowMs(),
      ),
    money: () =>
      ledger.isReady?.()
        ? {
            spentToday: ledger.usage().spentOn(dayOf(clock.nowMs())).micros,
            budgetPerDay: config.SERVICE_BUDGET_PER_DAY,
          }
        : undefined,
  }
  return { rules, following: together(limits, ledger) }
}
