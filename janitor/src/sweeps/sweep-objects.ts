import { isTerminal, type JobRecord, jobIdOfKey } from '@avatar/contracts'
import { factOf, type JobRecords, plainEvent, publishEvent } from '@avatar/job-kit'
import {
  asAppError,
  background,
  type Foundation,
  type ListedObject,
  logFailure,
  type ObjectStore,
  type Runnable,
} from '@avatar/service-kit'

/** What one pass did. The first four count objects, the others jobs. */
export type Swept = {
  listed: number
  expired: number
  orphaned: number
  stale: number
  /** Jobs whose deletion had never been published. */
  announced: number
  /** Jobs that the pass left out, because something failed for them. */
  failed: number
}

type Fate = 'keep' | 'expired' | 'orphaned' | 'stale'

/**
 * Cleans up what a lost event left behind. It lists the bucket, not the records, and deletes the objects
 * of ended jobs past their expiry, whatever `deletedAtMs` says (a stopped worker may have uploaded
 * late); objects without a record that are older than any admission; and publishers' inputs that nobody
 * needs any more. It publishes each deletion that was never published.
 */
export function sweepObjects(
  deps: Pick<Foundation, 'bus' | 'clock' | 'log' | 'timings'> & {
    objects: ObjectStore
    records: JobRecords
    retentionMs: number
    onDeleted?: (objects: number) => void
  },
): Runnable & { runOnce(signal?: AbortSignal): Promise<Swept> } {
  const { bus, objects, records, clock, log, timings } = deps

  async function runOnce(signal?: AbortSignal): Promise<Swept> {
    const swept: Swept = { listed: 0, expired: 0, orphaned: 0, stale: 0, announced: 0, failed: 0 }
    for await (const job of objectsByJob()) {
      if (signal?.aborted) break
      try {
        await sweepJob(job.jobId, job.objects, swept)
      } catch (error) {
        const failure = asAppError(error)
        if (failure.isDependency) throw failure // The next pass starts over.
        logFailure(log, failure, 'job left out of the sweep', { jobId: job.jobId })
        swept.failed++
      }
    }
    for await (const object of objects.list('intake/')) {
      if (signal?.aborted) break
      swept.listed++
      if (clock.nowMs() - object.modifiedAtMs < deps.retentionMs + timings.queueTimeoutMs) continue
      await remove(object, 'stale', swept)
    }
    log.info(swept, 'objects swept')
    return swept
  }

  async function remove({ key }: ListedObject, why: Exclude<Fate, 'keep'>, swept: Swept) {
    await objects.delete(key)
    swept[why]++
    deps.onDeleted?.(1)
  }

  /** The store lists keys in order, so the objects of one job come together. */
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
    for (const object of owned) {
      swept.listed++
      const fate = fateOf(found?.value, object.modifiedAtMs)
      if (fate === 'keep') continue
      await remove(object, fate, swept)
      if (fate === 'expired') expired++
    }
    if (!found || expired === 0 || found.value.deletedAtMs !== undefined) return
    const { value, revision } = found
    const event = plainEvent('job.deleted', factOf(value, revision, clock.nowMs()))
    await publishEvent(bus, event, {
      traceparent: value.traceparent,
      timeoutMs: timings.publishInPassMs,
    })
    swept.announced++
  }

  function fateOf(job: JobRecord | undefined, modifiedAtMs: number): Fate {
    const nowMs = clock.nowMs()
    if (!job) return nowMs - modifiedAtMs > timings.orphanAgeMs ? 'orphaned' : 'keep'
    return isTerminal(job) && nowMs >= (job.expiresAtMs ?? Infinity) ? 'expired' : 'keep'
  }

  const everyMs = timings.sweepEveryMs
  return { ...background({ ...deps, name: 'object sweep', everyMs, pass: runOnce }), runOnce }
}
