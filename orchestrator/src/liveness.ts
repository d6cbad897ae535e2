import type { Beat, Timings } from '@avatar/contracts'

/** An attempt that is somebody's and whose video is not uploaded yet. */
export type OpenAttempt = {
  jobId: string
  owner: string
  epoch: number
  workerId: string
  incarnation: string
}

/** Decides which attempts nobody works on any more. Pure: time is an argument, in monotonic ms. */
export type Liveness = ReturnType<typeof createLiveness>

/**
 * An attempt is lost when no beat has named it for a while, or when its worker beats under another
 * incarnation without naming it. Silence counts from the moment the attempt was first seen.
 *
 * After any gap in the passes (start, reconnect, suspension) nothing is declared lost for a grace
 * time: the gap may have been ours, and a broker outage must cost nobody his render.
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
    /** A beat arrived; `open` are the attempts known to be open. */
    heard(beat: Beat, open: Iterable<OpenAttempt>, nowMs: number) {
      const named = new Set(beat.jobs.map(keyOf))
      for (const key of named) namedAtMs.set(key, nowMs)
      for (const attempt of open) {
        if (attempt.workerId !== beat.workerId) continue
        const key = keyOf(attempt)
        if (attempt.incarnation !== beat.incarnation && !named.has(key)) orphaned.add(key)
        else orphaned.delete(key)
      }
    },

    /** One pass, made only after the broker has answered: the attempts that are lost now. */
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
    // A name this old counts no more, whether or not it is remembered.
    for (const [key, atMs] of namedAtMs)
      if (nowMs - atMs > timings.silentAfterMs) namedAtMs.delete(key)
  }
}
