import { type Clock, systemClock } from '../src/clock.ts'

/** A clock whose waits end when the test says so, or when they are aborted. */
export function handClock() {
  const waits: { ms: number; end: () => void }[] = []
  const clock: Clock = {
    ...systemClock,
    wait: (ms, signal) =>
      new Promise((resolve) => {
        waits.push({ ms, end: resolve })
        if (signal?.aborted) resolve()
        signal?.addEventListener('abort', () => resolve(), { once: true })
      }),
  }
  return { clock, waits }
}
