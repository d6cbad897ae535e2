/** What is ahead of a job, in the order in which workers will take it. */
export type Ahead = {
  /** Seconds of the first jobs ahead. */
  readonly seconds: readonly number[]
  /** Seconds of all further jobs ahead, together. */
  readonly restSeconds: number
}

/**
 * How many seconds until a job starts: each job in turn goes to the worker that is free first. Exact
 * for the jobs that are listed; the rest is spread evenly. Undefined without a worker.
 *
 * @param freeInSeconds of each worker: until its present render, or its cold start, is over
 */
export function startsInSeconds(
  freeInSeconds: readonly number[],
  ahead: Ahead,
): number | undefined {
  if (freeInSeconds.length === 0) return undefined
  const free = heapOf(freeInSeconds)
  for (const seconds of ahead.seconds) replaceLeast(free, (free[0] ?? 0) + seconds)
  return (free[0] ?? 0) + ahead.restSeconds / free.length
}

/**
 * The same for an owner whose renders at once are capped: no earlier than its own jobs allow.
 *
 * @param own seconds until each of the owner's running jobs ends, at most `cap` of them
 */
export function startsInCapped(own: {
  freeInSeconds: readonly number[]
  ahead: Ahead
  cap: number
}): number {
  const { freeInSeconds, ahead, cap } = own
  const slots = [...freeInSeconds].sort((a, b) => b - a).slice(0, cap)
  while (slots.length < cap && slots.length < freeInSeconds.length + ahead.seconds.length + 1)
    slots.push(0)
  return startsInSeconds(slots, ahead) ?? 0
}

function heapOf(values: readonly number[]): number[] {
  return [...values].sort((a, b) => a - b)
}

/** Replaces the first and least element of a binary heap by a greater one. */
function replaceLeast(heap: number[], value: number) {
  let place = 0
  for (;;) {
    const left = 2 * place + 1
    const right = left + 1
    const least = (heap[right] ?? Infinity) < (heap[left] ?? Infinity) ? right : left
    const child = heap[least]
    if (child === undefined || child >= value) break
    heap[place] = child
    place = least
  }
  heap[place] = value
}
