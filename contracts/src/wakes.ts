import { z } from 'zod'
import { poolSchema, timeMsSchema } from './job.ts'
import { wakeIdSchema, workerCountsSchema } from './requests.ts'

/** What can start GPU workers. `none`: nobody but the operator. */
export const providers = ['none', 'runpod', 'kubernetes'] as const
export const providerSchema = z.enum(providers)
export type ProviderName = z.infer<typeof providerSchema>

/**
 * The states of a wake-up, in the order in which it passes through them. `intended`: written down before
 * anybody is asked. `rung`: the provider has taken the order. `started`: a worker has said hello.
 * `ready`: its engine is loaded. `ended`: its worker has left. `lost`: nobody came in time, or the order
 * was taken back.
 */
export const wakeStates = ['intended', 'rung', 'started', 'ready', 'ended', 'lost'] as const
export const wakeStateSchema = z.enum(wakeStates)
export type WakeState = z.infer<typeof wakeStateSchema>

/**
 * One wake-up of one worker: KV `wake`, under `wakeKeyOf`. The orchestrator alone writes it, always by
 * compare-and-set. It names no job and nobody's data.
 */
export const wakeSchema = z.object({
  wakeId: wakeIdSchema,
  provider: providerSchema,
  pool: poolSchema,
  state: wakeStateSchema,
  intendedAtMs: timeMsSchema,
  rungAtMs: timeMsSchema.optional(),
  /** The provider's own name for the order, by which it can be taken back. */
  ref: z.string().min(1).max(200).optional(),
  startedAtMs: timeMsSchema.optional(),
  readyAtMs: timeMsSchema.optional(),
  /** When it became `ended` or `lost`. */
  endedAtMs: timeMsSchema.optional(),
  /** When its worker was last heard, if it fell silent. */
  lastSeenAtMs: timeMsSchema.optional(),
  /** Who has said hello with it. */
  workerId: z.string().min(1).max(100).optional(),
  incarnation: z.string().min(1).max(100).optional(),
  release: z.string().min(1).max(100).optional(),
  /** Why it ended or was lost. */
  reason: z.string().min(1).max(200).optional(),
  /** What its worker did, by its last word. */
  counts: workerCountsSchema.optional(),
})
export type Wake = z.infer<typeof wakeSchema>

/** The key of a wake-up in KV `wake`. */
export function wakeKeyOf({ provider, wakeId }: Pick<Wake, 'provider' | 'wakeId'>): string {
  return `${provider}.${wakeId}`
}

/** Whether a worker may still come for it. */
export function isAwaited({ state }: Pick<Wake, 'state'>): boolean {
  return state === 'intended' || state === 'rung'
}

/** Whether its worker is there: only then do the requests of a pool's worker count. */
export function isAtWork({ state }: Pick<Wake, 'state'>): boolean {
  return state === 'started' || state === 'ready'
}

/** Why there are as many workers as there are. */
export const scaleReasons = [
  /** Nothing waits. */
  'no_jobs',
  /** Those at work and on their way are enough. */
  'enough',
  /** More are asked for. */
  'ringing',
  /** The orchestrator has just started, or has just heard of the broker again: it listens first. */
  'quiet',
  /** The ledger is not read yet, and money that is not known is none. */
  'money_unknown',
  'budget_reached',
  /** The provider has no GPU to give. */
  'no_capacity',
  /** The provider does not answer, or refuses. */
  'provider_away',
  /** Nothing is set up that could start a worker. */
  'no_worker_configured',
] as const
export const scaleReasonSchema = z.enum(scaleReasons)
export type ScaleReason = z.infer<typeof scaleReasonSchema>

/** What the REST door tells of the wake-up: KV `meta` under `scaleKey`, written when it changes. */
export const scaleSummarySchema = z.object({
  provider: providerSchema,
  pool: poolSchema,
  /** How many workers there should be. */
  wanted: z.int().nonnegative(),
  reason: scaleReasonSchema,
  /** Since when it has been this reason. */
  sinceMs: timeMsSchema,
  /** When the reason ends, where that is known. */
  untilMs: timeMsSchema.optional(),
  /** From the order to a loaded engine, by what was learned. */
  coldStartSeconds: z.number().nonnegative(),
})
export type ScaleSummary = z.infer<typeof scaleSummarySchema>

/** The key of KV `meta` that holds the summary. */
export const scaleKey = 'scale'

/** Which orchestrator decides about workers: KV `meta` under `scalerKey`, gone when it is not renewed. */
export const scalerLeaseSchema = z.object({ holder: z.string().min(1).max(100) })
export type ScalerLease = z.infer<typeof scalerLeaseSchema>

/** The key of KV `meta` that holds the lease. */
export const scalerKey = 'scaler'
