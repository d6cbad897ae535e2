import type { Beat, HeldJob, Timings, Used } from '@avatar/contracts'

/** An attempt that a worker has and whose video is not uploaded yet. */
export type OpenAttempt = Pick<HeldJob, 'jobId' | 'owner' | 'epoch'> &
  Pick<Beat, 'workerId' | 'incarnation'>

/** An attempt that nobody works on any more, and what its worker said last that it had used. */
export type LostAttempt = OpenAttempt & { used?: Pick<Used, 'gpuSeconds'> }

/** Finds the attempts that no worker works on any more. Pure: time is an argument, in monotonic ms. */
export type Liveness = ReturnType<typeof createLiveness>

/**
 * An attempt is lost when no heartbeat has named it for a while, or when a heartbeat of its worker under
 * another incarnation does not name it. Silence counts from when the attempt was first seen.
 *
 * After any gap in the passes (start, reconnect, suspension) nothing is declared lost for a grace time:
 * the cause may be on our side, and an outage of the broker must not cost anybody a render.
 */
export function createLiveness(
  timings: Pick<Timings, 'silentAfterMs' | 'watchGapMs' | 'watchGraceMs'>,
  startMs: number,
) {
  const named = new Map<string, { atMs: number; gpuSeconds: number | undefined }>()
  const firstSeenAtMs = new Map<string, number>()
  const orphaned = new Set<string>()
  let lastPassMs = startMs
  let graceSinceMs = startMs

  const keyOf = (attempt: { jobId: string; epoch: number }) => `${attempt.jobId}:${attempt.epoch}`

  return {
    /** Takes in a heartbeat; `open` are the attempts known to be open. */
    onBeat(beat: Beat, open: Iterable<OpenAttempt>, nowMs: number) {
      const inHand = new Set(beat.jobs.map(keyOf))
      for (const held of beat.jobs)
        named.set(keyOf(held), { atMs: nowMs, gpuSeconds: held.gpuSeconds })
      for (const attempt of open) {
        if (attempt.workerId !== beat.workerId) continue
        const key = keyOf(attempt)
        if (attempt.incarnation !== beat.incarnation && !inHand.has(key)) orphaned.add(key)
        else orphaned.delete(key)
      }
    },

    /** The attempts that are lost now. Call it only after the broker has answered a ping. */
    findLost(open: readonly OpenAttempt[], nowMs: number): LostAttempt[] {
      if (nowMs - lastPassMs > timings.watchGapMs) graceSinceMs = nowMs
      lastPassMs = nowMs
      forgetAllBut(new Set(open.map(keyOf)), nowMs)
      const lost = open.filter((attempt) => {
        const key = keyOf(attempt)
        const firstMs = firstSeenAtMs.get(key) ?? nowMs
        firstSeenAtMs.set(key, firstMs)
        const quietForMs = nowMs - Math.max(firstMs, named.get(key)?.atMs ?? 0)
        const isQuiet = quietForMs > timings.silentAfterMs || orphaned.has(key)
        return isQuiet && nowMs - graceSinceMs > timings.watchGraceMs
      })
      return lost.map((attempt) => {
        const gpuSeconds = named.get(keyOf(attempt))?.gpuSeconds
        return gpuSeconds === undefined ? attempt : { ...attempt, used: { gpuSeconds } }
      })
    },
  }

  function forgetAllBut(open: ReadonlySet<string>, nowMs: number) {
    for (const key of firstSeenAtMs.keys()) if (!open.has(key)) firstSeenAtMs.delete(key)
    for (const key of orphaned) if (!open.has(key)) orphaned.delete(key)
    // A heartbeat may know of an attempt before the view does; one this old makes no difference any more.
    for (const [key, { atMs }] of named)
      if (!open.has(key) && nowMs - atMs > timings.silentAfterMs) named.delete(key)
  }
}
