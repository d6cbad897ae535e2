import {
  isTerminal,
  type JobRecord,
  jobIdOfKey,
  outputPrefix,
  type RemovedObject,
} from '@avatar/contracts'
import { deletedEvent, factOf, type JobRecords, publishEvent } from '@avatar/job-kit'
import {
  asAppError,
  background,
  type Foundation,
  type ListedObject,
  logFailure,
  type ObjectStore,
  type Runnable,
} from '@avatar/service-kit'
import type { MayDelete } from '../may-delete.ts'
import type { MeasureDeletions } from '../measure-deletions.ts'

/** What one pass did. The first five count objects, the others jobs. */
export type Swept = {
  listed: number
  expired: number
  orphaned: number
  stale: number
  /** Objects that stay because of a doubt about the time. */
  refused: number
  /** Jobs whose deletion had never been published. */
  announced: number
  /** Jobs that the pass left out, because something failed for them. */
  failed: number
}

type Fate = 'keep' | 'expired' | 'orphaned' | 'stale'

/**
 * Cleans up what a lost event left behind. It lists the bucket, not the records, and deletes the objects
 * of ended jobs past their expiry, whatever `deletedAtMs` says (a stopped worker may have uploaded
 * late); videos of attempts that were given up; objects without a record that are older than any
 * admission; and publishers' inputs that nobody needs any more. It publishes each deletion that was never published. While clocks disagree it deletes
 * nothing.
 */
export function sweepObjects(
  deps: Pick<Foundation, 'bus' | 'clock' | 'log' | 'timings'> & {
    objects: ObjectStore
    records: JobRecords
    mayDelete: MayDelete
    retentionMs: number
    measure: MeasureDeletions
  },
): Runnable & { runOnce(signal?: AbortSignal): Promise<Swept> } {
  const { bus, objects, records, clock, log, timings, mayDelete, measure } = deps

  async function runOnce(signal?: AbortSignal): Promise<Swept> {
    const objectsSwept = { listed: 0, expired: 0, orphaned: 0, stale: 0, refused: 0 }
    const swept: Swept = { ...objectsSwept, announced: 0, failed: 0 }
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
      if (ageMsOf(object) < deps.retentionMs + timings.queueTimeoutMs) continue
      await remove(object, 'stale', swept)
    }
    if (!signal?.aborted) measure.swept(clock.nowMs())
    log.info({ done: { ...swept } }, 'objects swept')
    return swept
  }

  async function remove({ key }: ListedObject, why: Exclude<Fate, 'keep'>, swept: Swept) {
    if (!mayDelete()) {
      swept.refused++
      return false
    }
    await objects.delete(key)
    swept[why]++
    measure.deleted(1, why)
    return true
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
    const removed: RemovedObject[] = []
    for (const object of owned) {
      swept.listed++
      const fate = fateOf(found?.value, object)
      if (fate === 'keep') continue
      const isRemoved = await remove(object, fate, swept)
      if (isRemoved && fate === 'expired') removed.push({ key: object.key, bytes: object.bytes })
    }
    if (!found || removed.length === 0 || found.value.deletedAtMs !== undefined) return
    const { value, revision } = found
    measure.jobDeleted(value, clock.nowMs())
    const event = deletedEvent(factOf(value, revision, clock.nowMs()), removed)
    await publishEvent(bus, event, {
      traceparent: value.traceparent,
      timeoutMs: timings.publishInPassMs,
    })
    swept.announced++
  }

  /** The store dates its objects by its own clock, so their age counts by that or, if less, by ours. */
  function ageMsOf({ modifiedAtMs, listedAtMs }: ListedObject): number {
    return Math.min(listedAtMs, clock.nowMs()) - modifiedAtMs
  }

  function fateOf(job: JobRecord | undefined, object: ListedObject): Fate {
    if (!job) return ageMsOf(object) > timings.orphanAgeMs ? 'orphaned' : 'keep'
    if (!isTerminal(job)) return 'keep'
    if (clock.nowMs() >= (job.expiresAtMs ?? Infinity)) return 'expired'
    const isOutput = object.key.startsWith(outputPrefix(job.jobId))
    const isNeeded = !isOutput || object.key === job.result?.key
    return !isNeeded && ageMsOf(object) > timings.orphanAgeMs ? 'orphaned' : 'keep'
  }

  const everyMs = timings.sweepEveryMs
  return { ...background({ ...deps, name: 'object sweep', everyMs, pass: runOnce }), runOnce }
}
