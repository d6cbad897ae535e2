import { isTerminal, type JobRecord, jobIdOfKey, type Timings } from '@avatar/contracts'
import {
  type Clock,
  everySoOften,
  type Log,
  type ObjectStore,
  type Runnable,
} from '@avatar/service-kit'

/** What one pass did, in objects. */
export type Swept = { listed: number; expired: number; orphaned: number; stale: number }

/**
 * Repairs what a lost event left behind. It lists the bucket, not the records: objects of a terminal
 * job past its expiry go, whatever `deletedAtMs` says (a stopped worker may have uploaded late);
 * objects of no record go when they are older than any admission can be; so do publishers' inputs
 * that nobody needs any more.
 */
export function sweepObjects(deps: {
  objects: ObjectStore
  /** The record of a job by its id alone: an object's key does not name the owner. */
  findJob: (jobId: string) => Promise<JobRecord | undefined>
  retentionMs: number
  clock: Clock
  log: Log
  timings: Timings
}): Runnable & { runOnce(): Promise<Swept> } {
  const { objects, findJob, clock, log, timings } = deps

  async function runOnce(): Promise<Swept> {
    const swept: Swept = { listed: 0, expired: 0, orphaned: 0, stale: 0 }
    let current: { jobId: string; job: JobRecord | undefined } | undefined
    for await (const object of objects.list('jobs/')) {
      swept.listed++
      const jobId = jobIdOfKey(object.key)
      if (jobId === undefined) continue
      if (current?.jobId !== jobId) current = { jobId, job: await findJob(jobId) }
      const fate = fateOf(current.job, object.modifiedAtMs)
      if (fate === 'keep') continue
      await objects.delete(object.key)
      swept[fate]++
    }
    for await (const object of objects.list('intake/')) {
      swept.listed++
      if (clock.nowMs() - object.modifiedAtMs < deps.retentionMs + timings.queueTimeoutMs) continue
      await objects.delete(object.key)
      swept.stale++
    }
    log.info(swept, 'objects swept')
    return swept
  }

  function fateOf(
    job: JobRecord | undefined,
    modifiedAtMs: number,
  ): 'keep' | 'expired' | 'orphaned' {
    const nowMs = clock.nowMs()
    if (!job) return nowMs - modifiedAtMs > timings.orphanAgeMs ? 'orphaned' : 'keep'
    return isTerminal(job) && nowMs >= (job.expiresAtMs ?? Infinity) ? 'expired' : 'keep'
  }

  const loop = everySoOften({
    name: 'object sweep',
    everyMs: timings.sweepEveryMs,
    clock,
    log,
    pass: runOnce,
  })
  return { ...loop, runOnce }
}
