import type { RateState } from './owner-limits.ts'

/** A token bucket: it holds `burst` tokens and gains `perMinute` of them a minute. Each call takes one. */
export type Rate = { readonly perMinute: number; readonly burst: number }

/** Whether a call is let in, and what its answer says. */
export type RateDecision = RateState & {
  /** When false, `tatMs` is the state as it was. */
  readonly isLetIn: boolean
  /** Whole tokens left. */
  readonly remaining: number
  /** Until the bucket is full, rounded up. */
  readonly fullInSeconds: number
  /** Until there is a token, rounded up; 0 when there is one. */
  readonly nextInSeconds: number
}

/** Sums of rounded numbers differ by less than this part of a token. */
const slack = 0.01

/** Milliseconds in which the bucket gains one token. */
export function tokenMs({ perMinute }: Rate): number {
  return 60_000 / perMinute
}

/** Seconds in which an empty bucket fills, rounded up. */
export function secondsToFill(rate: Rate): number {
  return secondsUp(rate.burst * tokenMs(rate), rate)
}

/**
 * The generic cell rate algorithm: the whole bucket in one number, the time at which it is full
 * (`tatMs`, the theoretical arrival time). Zero is a full bucket.
 *
 * A state that this rate cannot have written, because it lies more than two whole buckets ahead, is
 * that of an owner whose limits were changed: it counts as a bucket with one token, so that a higher
 * rate is in force at once. One bucket would not do: the clocks of two replicas differ.
 */
export function decide(tatMs: number, nowMs: number, rate: Rate): RateDecision {
  const t = tokenMs(rate)
  const ahead = Math.max(0, tatMs - nowMs)
  const aheadMs = ahead > 2 * rate.burst * t ? (rate.burst - 1) * t : ahead
  const isLetIn = aheadMs <= (rate.burst - 1 + slack) * t
  const afterMs = isLetIn ? aheadMs + t : aheadMs
  const remaining = Math.max(0, Math.floor(rate.burst - afterMs / t + slack))
  return {
    isLetIn,
    tatMs: isLetIn ? nowMs + afterMs : tatMs,
    remaining,
    fullInSeconds: secondsUp(afterMs, rate),
    nextInSeconds: remaining > 0 ? 0 : secondsUp(afterMs - (rate.burst - 1) * t, rate),
  }
}

function secondsUp(ms: number, rate: Rate): number {
  return Math.max(0, Math.ceil((ms - slack * tokenMs(rate)) / 1000))
}
