import { z } from 'zod'
import { microsSchema } from './ledger.ts'

const perMinute = z.int().min(1).max(1_000_000)

/** What the operator allows one owner: KV `limits`, under the owner. What is absent is the default. */
export const ownerLimitsSchema = z.strictObject({
  submitsPerMinute: perMinute.optional(),
  submitBurst: perMinute.optional(),
  readsPerMinute: perMinute.optional(),
  readBurst: perMinute.optional(),
  unfinishedJobs: z.int().min(0).max(10_000_000).optional(),
  /** Renders at the same time. */
  renders: z.int().min(1).max(100_000).optional(),
  gpuSecondsPerDay: z.number().nonnegative().optional(),
  budgetPerDayMicros: microsSchema.optional(),
  budgetPerMonthMicros: microsSchema.optional(),
  /** Of the GPU time, against the others who wait. */
  share: z.int().min(1).max(100).optional(),
})
export type OwnerLimits = z.infer<typeof ownerLimitsSchema>

/** The state of one rate: KV `rate`, under `<owner>.<policy>` or `ip-<hex>.auth`. */
export const rateStateSchema = z.object({ tatMs: z.number().nonnegative() })
export type RateState = z.infer<typeof rateStateSchema>
