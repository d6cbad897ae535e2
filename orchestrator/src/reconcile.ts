import { consumers, type EventOf, type JobRecord, streams, subjects } from '@avatar/contracts'
import { factOf, plainEvent, publishEvent } from '@avatar/job-kit'
import { background, type Foundation, type Runnable } from '@avatar/service-kit'
import type { LiveJobs } from './live-jobs.ts'

/** What one pass did. */
export type Reconciled = {
  resubmitted: number
  entriesRestored: number
  timedOut: number
  /** Events published again in case the broker has forgotten to deliver them. */
  reminded: number
}

/**
 * Repairs what no event will: a record whose `submitted` was never published, a queued job whose entry
 * is gone or will never be delivered, a job that has waited too long, and a request to cancel or an
 * upload that the broker stored but never delivered.
 */
export function reconciler(
  deps: Pick<Foundation, 'bus' | 'clock' | 'log' | 'timings'> & { liveJobs: LiveJobs },
): Runnable & { runOnce(signal?: AbortSignal): Promise<Reconciled> } {
  const { bus, liveJobs, clock, log, timings } = deps
  const timeoutMs = timings.publishInPassMs
  /** Queued jobs without an entry to deliver, and since when. A worker may acknowledge between two reads. */
  const entrylessSinceMs = new Map<string, number>()
  /** Jobs whose record is behind one of their events, and since when. The handler may still be at it. */
  const behindSinceMs = new Map<string, number>()

  async function runOnce(signal?: AbortSignal): Promise<Reconciled> {
    const done: Reconciled = { resubmitted: 0, entriesRestored: 0, timedOut: 0, reminded: 0 }
    const settledUpTo = await bus.ackFloor(consumers(timings).gpu)
    for (const { value: job, revision } of [...liveJobs.all()]) {
      if (signal?.aborted) break
      if (await remind(job, revision)) done.reminded++
      if (job.state !== 'pending' && job.state !== 'queued') continue
      const ageMs = clock.nowMs() - job.createdAtMs
      if (ageMs > timings.queueTimeoutMs) {
        await publishAbout('job.queue-timeout', job, revision)
        done.timedOut++
      } else if (job.state === 'pending' && ageMs > timings.pendingStaleMs) {
        await publishAbout('job.submitted', job, revision)
        done.resubmitted++
      } else if (job.state === 'queued' && (await restoreEntry(job, settledUpTo)))
        done.entriesRestored++
    }
    for (const jobId of entrylessSinceMs.keys())
      if (liveJobs.find(jobId)?.value.state !== 'queued') entrylessSinceMs.delete(jobId)
    for (const jobId of behindSinceMs.keys()) if (!liveJobs.find(jobId)) behindSinceMs.delete(jobId)
    if (Object.values(done).some((count) => count > 0)) log.warn(done, 'jobs repaired')
    return done
  }

  /**
   * An entry may be in the stream and yet be lost: a broker that stops while it delivers can come back
   * with an entry that its consumer takes for acknowledged. Such an entry is purged before it is
   * published again. The new one has another sequence, so a late acknowledgement of the old one does
   * not touch it.
   */
  async function restoreEntry(
    { jobId, owner, traceparent }: JobRecord,
    settledUpTo: number,
  ): Promise<boolean> {
    const subject = subjects.gpuWork(jobId)
    if (await bus.hasMessage(streams.GPU.name, subject, settledUpTo)) {
      entrylessSinceMs.delete(jobId)
      return false
    }
    if (!isLasting(entrylessSinceMs, jobId)) return false
    await bus.purge(streams.GPU.name, subject, { timeoutMs })
    await bus.publish(subject, { jobId, owner }, { traceparent, timeoutMs })
    return true
  }

  /**
   * Publishes an event again whose handler should have changed the record by now. It has the same id, so
   * within the duplicate window this does nothing; and its handler may safely run twice.
   */
  async function remind(job: JobRecord, revision: number): Promise<boolean> {
    const { jobId, uploaded, traceparent } = job
    const subject = subjects.event('job.cancel-requested', jobId)
    const isCancelForgotten =
      !uploaded &&
      job.state !== 'cancelling' &&
      (await bus.hasMessage(streams.EVENTS.name, subject))
    if (!uploaded && !isCancelForgotten) {
      behindSinceMs.delete(jobId)
      return false
    }
    if (!isLasting(behindSinceMs, jobId)) return false
    behindSinceMs.set(jobId, clock.monotonicMs())
    if (!uploaded) {
      await publishAbout('job.cancel-requested', job, revision)
      return true
    }
    const atMs = clock.nowMs()
    const event: EventOf<'render.completed'> = {
      type: 'render.completed',
      ...factOf(job, revision, atMs),
      rendered: uploaded,
      workerId: job.worker?.id ?? '',
      renderStartedAtMs: job.startedAtMs ?? atMs,
      renderEndedAtMs: atMs,
    }
    await publishEvent(bus, event, { traceparent, timeoutMs })
    return true
  }

  /** Whether something has been wrong with a job for longer than a handler or a worker needs. */
  function isLasting(sinceMs: Map<string, number>, jobId: string): boolean {
    const nowMs = clock.monotonicMs()
    const firstMs = sinceMs.get(jobId) ?? nowMs
    sinceMs.set(jobId, firstMs)
    return nowMs - firstMs >= timings.entryMissingMs
  }

  async function publishAbout(
    type: 'job.submitted' | 'job.queue-timeout' | 'job.cancel-requested',
    job: JobRecord,
    revision: number,
  ) {
    const event = plainEvent(type, factOf(job, revision, clock.nowMs()))
    await publishEvent(bus, event, { traceparent: job.traceparent, timeoutMs })
  }

  const everyMs = Math.min(timings.reconcileEveryMs, timings.entryMissingMs)
  return { ...background({ ...deps, name: 'reconciler', everyMs, pass: runOnce }), runOnce }
}
