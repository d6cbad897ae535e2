type Part = { readonly minutesMax: number; readonly isAlone?: true }

type Bounds = {
  /** How many parts may run side by side. */
  readonly lanes: number
  /** Since the call. */
  readonly withinMs: number
  readonly nowMs: () => number
}

/**
 * Runs parts in their order. One that is alone waits until nothing else runs, and nothing starts beside it.
 * One that may take longer than what is left of the time is passed over.
 *
 * @returns those that were passed over
 */
export async function inLanes<P extends Part>(
  parts: readonly P[],
  { lanes, withinMs, nowMs }: Bounds,
  run: (part: P) => Promise<void>,
): Promise<P[]> {
  const untilMs = nowMs() + withinMs
  const running = new Set<Promise<void>>()
  const left: P[] = []
  for (const part of parts) {
    const free = part.isAlone ? 1 : lanes
    while (running.size >= free) await Promise.race(running)
    if (nowMs() + part.minutesMax * 60_000 > untilMs) {
      left.push(part)
      continue
    }
    const work: Promise<void> = run(part).finally(() => running.delete(work))
    running.add(work)
    if (part.isAlone) await work
  }
  await Promise.all(running)
  return left
}
