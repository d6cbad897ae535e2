import type { Clock, Log, Runnable } from '@avatar/service-kit'

/** A service that never starts would be worse than one that refuses submissions for a while. */
const currentWithinMs = 15_000
const lookEveryMs = 20

/**
 * Holds up the start until these parts have read what they follow: until then every submission would be
 * refused.
 */
export function waitUntilCurrent(
  { clock, log }: { clock: Clock; log: Log },
  parts: readonly Runnable[],
): Runnable {
  const isCurrent = () => parts.every((part) => part.isReady?.() ?? true)
  return {
    async start() {
      const fromMs = clock.monotonicMs()
      while (!isCurrent() && clock.monotonicMs() - fromMs < currentWithinMs)
        await clock.wait(lookEveryMs)
      if (!isCurrent()) log.warn('starting before all limits and postings are read')
    },
    stop: async () => undefined,
  }
}
