import {
  consumers,
  type EventOf,
  type JobRecord,
  streams,
  subjects,
  type Timings,
} from '@avatar/contracts'
import { factOf, plainEvent, publishEvent } from '@avatar/job-kit'
import { type Bus, background, type Clock, type Log, type Runnable } from '@avatar/service-kit'
import type { LiveJobs } from './live-jobs.ts'

/** What one pass did. */
export type Reconciled = {
  resubmitted: number
  entriesRestored: number
  timedOut: number
  /** Events told again, for the case that the broker forgot to hand them out. */
  reminded: number
}

/**
 * Repairs what no event will: a record whose `submitted` was never published, a queued job whose
 * entry is gone or will never be given out, a job that waited too long, a wish to cancel or an
 * upload that the broker stored and never handed out.
 */
export function reconciler(deps: {
  bus: Bus
  liveJobs: LiveJobs
  clock: Clock
  log: Log
  timings: Timings
}): Runnable & { runOnce(): Promise<Reconciled> } {
  const { bus, liveJobs, clock, log, timings } = deps
  /** Queued jobs whose entry nobody will get, and since when; a worker may ack between two reads. */
  const entrylessSinceMs = new Map<string, number>()
  /** Jobs whose record is behind an event of theirs, and since when: the handler may be on its way. */
  const behindSinceMs = new Map<string, number>()

  async function runOnce(): Promise<Reconciled> {
    const done: Reconciled = { resubmitted: 0, entriesRestored: 0, timedOut: 0, reminded: 0 }
    const settledUpTo = await bus.ackFloor(consumers(timings).gpu)
    for (const { value: job, revision } of [...liveJobs.all()]) {
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
   * An entry may also be there and yet be lost: a broker that stops while it gives entries out can
   * come back with one in its stream that its consumer takes for settled. Such a one is removed
   * before it is published again; an old delivery of it may be settled by then or not, it counts no
   * more, because the new one has another sequence.
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
    const sinceMs = entrylessSinceMs.get(jobId) ?? clock.monotonicMs()
    entrylessSinceMs.set(jobId, sinceMs)
    if (clock.monotonicMs() - sinceMs < timings.entryMissingMs) return false
    await bus.purge(streams.GPU.name, subject)
    await bus.publish(subject, { jobId, owner }, { traceparent })
    return true
  }

  /**
   * Tells an event again whose handler should have changed the record by now. Under the id that it
   * had: within the window of duplicates that does nothing, and its handler is safe to run twice.
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
    const nowMs = clock.monotonicMs()
    const sinceMs = behindSinceMs.get(jobId) ?? nowMs
    behindSinceMs.set(jobId, sinceMs)
    if (nowMs - sinceMs < timings.entryMissingMs) return false
    behindSinceMs.set(jobId, nowMs)
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
    await publishEvent(bus, event, { traceparent })
    return true
  }

  async function publishAbout(
    type: 'job.submitted' | 'job.queue-timeout' | 'job.cancel-requested',
    job: JobRecord,
    revision: number,
  ) {
    const event = plainEvent(type, factOf(job, revision, clock.nowMs()))
    await publishEvent(bus, event, { traceparent: job.traceparent })
  }

  const loop = background({
    name: 'reconciler',
    everyMs: Math.min(timings.reconcileEveryMs, timings.entryMissingMs),
    clock,
    log,
    pass: runOnce,
  })
  return { ...loop, runOnce }
}
