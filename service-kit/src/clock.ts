import { setTimeout as sleep } from 'node:timers/promises'

/** Time and waiting as an argument, so that a test can control both. */
export type Clock = {
  /** Milliseconds since 1970, UTC, for whatever people and other processes read. */
  nowMs(): number
  /** Milliseconds that never jump, for measuring durations. */
  monotonicMs(): number
  /** Resolves after `ms`, or at once when the signal aborts; never rejects. */
  wait(ms: number, signal?: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  wait: (ms, signal) => sleep(ms, undefined, { signal }).catch(() => undefined), // It was aborted.
}

/** What the work results in, or `late` after `ms`. Work that is late goes on, unobserved. */
export async function inTime<T>(clock: Clock, ms: number, work: Promise<T>): Promise<T | 'late'> {
  const settled = new AbortController()
  try {
    return await Promise.race([work, clock.wait(ms, settled.signal).then(() => 'late' as const)])
  } finally {
    settled.abort()
  }
}

/** The same question, asked once for everybody who asks within `ms` of the last time. */
export function sharedFor<T>(clock: Clock, ms: number, ask: () => Promise<T>): () => Promise<T> {
  let shared: { answer: Promise<T>; untilMs: number } | undefined
  return async () => {
    const nowMs = clock.monotonicMs()
    if (!shared || nowMs >= shared.untilMs) shared = { answer: ask(), untilMs: nowMs + ms }
    return shared.answer
  }
}
