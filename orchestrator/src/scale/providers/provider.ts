import type { ProviderName, Wake } from '@avatar/contracts'

/** Why a provider does not take an order. `rate-limited` and `away` pass by themselves. */
export const refusals = ['rate-limited', 'away', 'not-allowed', 'no-credit'] as const
export type Refusal = (typeof refusals)[number]

/** How an order ended: taken, under the provider's own name for it, or refused. */
export type Ringing = { ref: string } | { refused: Refusal; retryAfterMs?: number }

/** How a provider stands. */
export type Survey = {
  /** How many workers it would start at most; undefined where it has no such bound. */
  maxWorkers?: number
  /** Workers that wait for a GPU, and all others that it knows. */
  throttledWorkers: number
  otherWorkers: number
  /** What is installed there. */
  release?: string
  /** The kinds of GPU that it may take, in the provider's own words. */
  gpuPools?: readonly string[]
}

/** What can start GPU workers. It knows nothing of jobs. */
export type WorkerProvider = {
  readonly name: ProviderName
  /** Whether it starts a worker for each ring; else something else reads how many are wanted. */
  readonly rings: boolean
  /** Asks for one worker for this wake-up. The same one may be rung twice. Never throws. */
  ring(wake: Wake): Promise<Ringing>
  /** Takes back a doorbell that nobody answered; an unknown one is fine. @throws AppError PROVIDER_UNAVAILABLE */
  withdraw(ref: string): Promise<void>
  /** How the provider stands: its own maximum, its workers, its release. @throws AppError PROVIDER_UNAVAILABLE */
  survey(): Promise<Survey>
  /**
   * Puts right what the provider changed by itself.
   *
   * @returns what it did, in sentences for the log; empty when all was right
   * @throws AppError PROVIDER_UNAVAILABLE
   */
  repair(survey: Survey, isShortOfGpus: boolean): Promise<readonly string[]>
  /**
   * What the pool was charged for a day (`2026-11-29`, UTC), in US dollars; undefined where no provider bills.
   *
   * @throws AppError PROVIDER_UNAVAILABLE
   */
  billOf(day: string): Promise<number | undefined>
  /** Rings so that the provider sees the endpoint used, without a worker being started. */
  showSignOfLife(): Promise<void>
}
