import { isTerminal, type JobRecord, jobIdOfKey, type Timings } from '@avatar/contracts'
import { factOf, type JobRecords, plainEvent, publishEvent } from '@avatar/job-kit'
import {
  asAppError,
  type Bus,
  background,
  type Clock,
  type ListedObject,
  type Log,
  logFailure,
  type ObjectStore,
  type Runnable,
} from '@avatar/service-kit'

/** What one pass did: objects, and at last the jobs whose end of media it told, or could not judge. */
export type Swept = {
  listed: number
  expired: number
  orphaned: number
  stale: number
  announced: number
  failed: number
}

type Fate = 'keep' | 'expired' | 'orphaned'

/**
 * Repairs what a lost event left behind. It lists the bucket, not the records: objects of a terminal
 * job past its expiry go, whatever `deletedAtMs` says (a stopped worker may have uploaded late);
 * objects of no record go when they are older than any admission can be; so do publishers' inputs
 * that nobody needs any more. A deletion that was never told is told now.
 */
export function sweepObjects(deps: {
  bus: Bus
  objects: ObjectStore
  records: JobRecords
  retentionMs: number
  clock: Clock
  log: Log
  timings: Timings
  onDeleted?: (objects: number) => void
}): Runnable & { runOnce(): Promise<Swept> } {
  const { bus, objects, records, clock, log, timings } = deps

  async function runOnce(): Promise<Swept> {
    const swept: Swept = { listed: 0, expired: 0, orphaned: 0, stale: 0, announced: 0, failed: 0 }
    for await (const job of objectsByJob()) {
      try {
        await sweepJob(job.jobId, job.objects, swept)
      } catch (error) {
        const failure = asAppError(error)
        if (failure.isDependency) throw failure // The next pass begins anew.
        logFailure(log, failure, 'job left out of the sweep', { jobId: job.jobId })
        swept.failed++
      }
    }
    for await (const object of objects.list('intake/')) {
      swept.listed++
      if (clock.nowMs() - object.modifiedAtMs < deps.retentionMs + timings.queueTimeoutMs) continue
      await objects.delete(object.key)
      swept.stale++
    }
    deps.onDeleted?.(swept.expired + swept.orphaned + swept.stale)
    log.info(swept, 'objects swept')
    return swept
  }

  /** The store lists keys in their order, so what belongs to one job comes together. */
  async function* objectsByJob() {
    let current: { jobId: string; objects: ListedObject[] } | undefined
    for await (const object of objects.list('jobs/')) {
      const jobId = jobIdOfKey(object.key)
      if (jobId === undefined) continue
      if (current?.jobId !== jobId) {
        if (current) yield current
        current = { jobId, objects: [] }
      }
      current.objects.push(object)
    }
    if (current) yield current
  }

  async function sweepJob(jobId: string, owned: readonly ListedObject[], swept: Swept) {
    // An object's key does not name the owner.
    const found = await records.findMatching(`*.${jobId}`)
    let expired = 0
    for (const { key, modifiedAtMs } of owned) {
      swept.listed++
      const fate = fateOf(found?.value, modifiedAtMs)
      if (fate === 'keep') continue
      await objects.delete(key)
      swept[fate]++
      if (fate === 'expired') expired++
    }
    if (!found || expired === 0 || found.value.deletedAtMs !== undefined) return
    const { value, revision } = found
    const event = plainEvent('job.deleted', factOf(value, revision, clock.nowMs()))
    await publishEvent(bus, event, { traceparent: value.traceparent })
    swept.announced++
  }

  function fateOf(job: JobRecord | undefined, modifiedAtMs: number): Fate {
    const nowMs = clock.nowMs()
    if (!job) return nowMs - modifiedAtMs > timings.orphanAgeMs ? 'orphaned' : 'keep'
    return isTerminal(job) && nowMs >= (job.expiresAtMs ?? Infinity) ? 'expired' : 'keep'
  }

  const loop = background({
    name: 'object sweep',
    everyMs: timings.sweepEveryMs,
    clock,
    log,
    pass: runOnce,
  })
  return { ...loop, runOnce }
}
