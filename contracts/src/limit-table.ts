import type { OwnerLimits } from './owner-limits.ts'

/** What a limit counts. Amounts are kept in millionths, and written as decimal text. */
export type LimitKind = 'count' | 'seconds' | 'amount'

type LimitSpec = {
  /** As people write it: `--renders`, `renders`. */
  readonly name: string
  readonly kind: LimitKind
  readonly what: string
}

/** Every limit of an owner, in the order in which they are shown. */
export const limitTable = {
  submitsPerMinute: { name: 'submits-per-minute', kind: 'count', what: 'new jobs a minute' },
  submitBurst: { name: 'submit-burst', kind: 'count', what: 'new jobs at once' },
  readsPerMinute: { name: 'reads-per-minute', kind: 'count', what: 'other calls a minute' },
  readBurst: { name: 'read-burst', kind: 'count', what: 'other calls at once' },
  unfinishedJobs: { name: 'unfinished-jobs', kind: 'count', what: 'jobs that have not ended' },
  renders: { name: 'renders', kind: 'count', what: 'renders at the same time' },
  gpuSecondsPerDay: {
    name: 'gpu-seconds-per-day',
    kind: 'seconds',
    what: 'charged GPU seconds a day, UTC',
  },
  budgetPerDayMicros: { name: 'budget-per-day', kind: 'amount', what: 'money a day, UTC' },
  budgetPerMonthMicros: { name: 'budget-per-month', kind: 'amount', what: 'money a month, UTC' },
  share: { name: 'share', kind: 'count', what: 'part of the GPU time, 1 to 100' },
} as const satisfies Record<keyof OwnerLimits, LimitSpec>

export type LimitName = keyof typeof limitTable

/** The names of all limits, in the order in which they are shown. */
export const limitNames = Object.keys(limitTable) as LimitName[] // It has no other keys.

/** The limits that hold for an owner: its own, and the defaults for what it has none of. */
export function limitsInForce(own: OwnerLimits, defaults: OwnerLimits): OwnerLimits {
  return { ...defaults, ...own }
}
