import type { JobRecord } from '@avatar/contracts'

type Instants = Pick<JobRecord, 'createdAtMs' | 'queuedAtMs' | 'startedAtMs' | 'finishedAtMs'>

/**
 * The instant to write down for what happens to a job now: never before anything that its record already
 * tells, even if the clock has been set back since.
 */
export function nextInstantMs(job: Instants, nowMs: number): number {
  const { createdAtMs, queuedAtMs = 0, startedAtMs = 0, finishedAtMs = 0 } = job
  return Math.max(nowMs, createdAtMs, queuedAtMs, startedAtMs, finishedAtMs)
}
