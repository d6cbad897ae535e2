/** Bounds a wait that would never end. A busy machine takes many times as long as a quiet one. */
const patienceMs = 240_000

/**
 * Waits until a condition holds, that is, until `look` gives something truthy.
 *
 * @returns what `look` gave
 * @throws Error that names the condition when it does not hold in time
 */
export async function until<T>(
  look: () => Promise<T | undefined | false> | T | undefined | false,
  { timeoutMs = patienceMs, everyMs = 20, what = 'the condition' } = {},
): Promise<T> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const seen = await look()
    if (seen) return seen
    if (performance.now() > deadline) throw new Error(`${what} did not hold within ${timeoutMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, everyMs))
  }
}
