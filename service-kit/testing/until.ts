/** Bounds a wait that would never end. A busy machine takes many times as long as a quiet one. */
const patienceMs = 240_000

/** A look is late by this part of the wait at most, where looks may become rarer. */
const lateByPart = 1 / 20

/**
 * Waits until a condition holds, that is, until `look` gives something truthy. Where a look is dear, `slowestMs`
 * lets looks become rarer while the wait lasts, down to one in so many milliseconds.
 *
 * @returns what `look` gave
 * @throws Error that names the condition when it does not hold in time
 */
export async function until<T>(
  look: () => Promise<T | undefined | false> | T | undefined | false,
  { timeoutMs = patienceMs, everyMs = 20, slowestMs = 0, what = 'the condition' } = {},
): Promise<T> {
  const startedAt = performance.now()
  for (;;) {
    const seen = await look()
    if (seen) return seen
    const waitedMs = performance.now() - startedAt
    if (waitedMs > timeoutMs) throw new Error(`${what} did not hold within ${timeoutMs} ms`)
    const pauseMs = Math.max(everyMs, Math.min(slowestMs, waitedMs * lateByPart))
    await new Promise((resolve) => setTimeout(resolve, pauseMs))
  }
}
