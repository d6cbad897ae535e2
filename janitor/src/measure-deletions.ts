import type { JobRecord } from '@avatar/contracts'
import type { Instruments } from '@avatar/service-kit'

/** Why an object was deleted: its job's timer fired, or what a sweep found. */
export type WhyDeleted = 'due' | 'expired' | 'orphaned' | 'stale'

/** The timer and a sweep may both come upon the same job. */
const jobsRemembered = 1_000

/** Counts what is deleted, and how late. */
export type MeasureDeletions = ReturnType<typeof measureDeletions>

export function measureDeletions(
  instruments: Pick<
    Instruments<'janitor'>,
    'objects_deleted_total' | 'deletion_lateness_seconds' | 'sweep_last_success_timestamp_seconds'
  >,
) {
  const measured = new Set<string>()
  let sweptAtMs: number | undefined
  instruments.sweep_last_success_timestamp_seconds.observe((tell) => {
    if (sweptAtMs !== undefined) tell(sweptAtMs / 1000)
  })
  return {
    deleted(objects: number, why: WhyDeleted): void {
      instruments.objects_deleted_total.add(objects, { why })
    },
    /** A job's media are gone. One whose deletion was noted before had them deleted then. */
    jobDeleted({ jobId, expiresAtMs, deletedAtMs }: JobRecord, nowMs: number): void {
      if (expiresAtMs === undefined || deletedAtMs !== undefined || measured.has(jobId)) return
      measured.add(jobId)
      if (measured.size > jobsRemembered) measured.delete(measured.values().next().value ?? '')
      instruments.deletion_lateness_seconds.record(Math.max(0, nowMs - expiresAtMs) / 1000)
    },
    swept(nowMs: number): void {
      sweptAtMs = nowMs
    },
  }
}
