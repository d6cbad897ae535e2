import type { Beat, HeldJob, Timings } from '@avatar/contracts'

/** An attempt that a worker has and whose video is not uploaded yet. */
export type OpenAttempt = Pick<HeldJob, 'jobId' | 'owner' | 'epoch'> &
  Pick<Beat, 'workerId' | 'incarnation'>

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
  const namedAtMs = new Map<string, number>()
  const firstSeenAtMs = new Map<string, number>()
  const orphaned = new Set<string>()
  let lastPassMs = startMs
  let graceSinceMs = startMs

  const keyOf = (attempt: { jobId: string; epoch: number }) => `${attempt.jobId}:${attempt.epoch}`

  return {
    /** Takes in a heartbeat; `open` are the attempts known to be open. */
    onBeat(beat: Beat, open: Iterable<OpenAttempt>, nowMs: number) {
      const named = new Set(beat.jobs.map(keyOf))
      for (const key of named) namedAtMs.set(key, nowMs)
      for (const attempt of open) {
        if (attempt.workerId !== beat.workerId) continue
        const key = keyOf(attempt)
        if (attempt.incarnation !== beat.incarnation && !named.has(key)) orphaned.add(key)
        else orphaned.delete(key)
      }
    },

    /** The attempts that are lost now. Call it only after the broker has answered a ping. */
    findLost(open: readonly OpenAttempt[], nowMs: number): OpenAttempt[] {
      if (nowMs - lastPassMs > timings.watchGapMs) graceSinceMs = nowMs
      lastPassMs = nowMs
      forgetAllBut(new Set(open.map(keyOf)), nowMs)
      return open.filter((attempt) => {
        const key = keyOf(attempt)
        const firstMs = firstSeenAtMs.get(key) ?? nowMs
        firstSeenAtMs.set(key, firstMs)
        const quietForMs = nowMs - Math.max(firstMs, namedAtMs.get(key) ?? 0)
        const isQuiet = quietForMs > timings.silentAfterMs || orphaned.has(key)
        return isQuiet && nowMs - graceSinceMs > timings.watchGraceMs
      })
    },
  }

  function forgetAllBut(open: ReadonlySet<string>, nowMs: number) {
    for (const key of firstSeenAtMs.keys()) if (!open.has(key)) firstSeenAtMs.delete(key)
    for (const key of orphaned) if (!open.has(key)) orphaned.delete(key)
    // A heartbeat this old makes no difference any more.
    for (const [key, atMs] of namedAtMs)
      if (nowMs - atMs > timings.silentAfterMs) namedAtMs.delete(key)
  }
}
