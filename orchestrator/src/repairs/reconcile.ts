import { type EventOf, streams, subjects } from '@avatar/contracts'
import { factOf, plainEvent, publishEvent } from '@avatar/job-kit'
import {
  attemptTraceparent,
  background,
  type Foundation,
  jobTraceparent,
  type Runnable,
} from '@avatar/service-kit'
import type { LiveJob, LiveJobs } from '../records/live-jobs.ts'
import { nextInstantMs } from '../states/next-instant.ts'

/** What one pass did. */
export type Reconciled = {
  resubmitted: number
  timedOut: number
  /** Events published again in case the broker has forgotten to deliver them. */
  reminded: number
}

/** Requests to cancel are read in batches of this size. */
const cancelsAtOnce = 500

/**
 * Repairs what no event will: a record whose `submitted` was never published, a job that has waited
 * too long, and a request to cancel or an upload that the broker stored but never delivered.
 */
export function reconciler(
  deps: Pick<Foundation, 'bus' | 'clock' | 'log' | 'timings' | 'metrics'> & {
    liveJobs: Pick<LiveJobs, 'all' | 'find'>
  },
): Runnable & { runOnce(signal?: AbortSignal): Promise<Reconciled> } {
  const { bus, liveJobs, clock, log, timings } = deps
  const timeoutMs = timings.publishInPassMs
  /** Jobs whose record is behind one of their events, and since when. The handler may still be at it. */
  const behindSinceMs = new Map<string, number>()
  /** When a job was asked to be cancelled, and when this process has read that, by its monotonic clock. */
  const cancels = new Map<string, { atMs: number; readMs: number }>()
  let nextCancel = 1

  async function runOnce(signal?: AbortSignal): Promise<Reconciled> {
    const done: Reconciled = { resubmitted: 0, timedOut: 0, reminded: 0 }
    await readCancels(signal)
    for (const { value: job, revision } of [...liveJobs.all()]) {
      if (signal?.aborted) break
      // Nothing is awaited for the others: there may be very many.
      if (!job.uploaded && !isCancelForgotten(job)) behindSinceMs.delete(job.jobId)
      else if (await remind(job, revision)) done.reminded++
      if (job.state !== 'pending' && job.state !== 'queued') continue
      const ageMs = clock.nowMs() - job.createdAtMs
      if (ageMs > timings.queueTimeoutMs) {
        await publishAbout('job.queue-timeout', job, revision)
        done.timedOut++
      } else if (job.state === 'pending' && ageMs > timings.pendingStaleMs) {
        await publishAbout('job.submitted', job, revision)
        done.resubmitted++
      }
    }
    for (const jobId of behindSinceMs.keys()) if (!liveJobs.find(jobId)) behindSinceMs.delete(jobId)
    count(done)
    if (Object.values(done).some((repairs) => repairs > 0))
      log.warn({ done: { ...done } }, 'jobs repaired')
    return done
  }

  function count({ resubmitted, timedOut, reminded }: Reconciled) {
    const { reconciled_total: repaired } = deps.metrics.of('orchestrator')
    repaired.add(resubmitted, { repair: 'resubmitted' })
    repaired.add(timedOut, { repair: 'timed_out' })
    repaired.add(reminded, { repair: 'reminded' })
  }

  /**
   * Reads what the last pass has not read yet: a long queue must not cost a question about each of its jobs.
   * A request whose job is not live is kept for a while, because the view may lag behind.
   */
  async function readCancels(signal?: AbortSignal) {
    const nowMs = clock.monotonicMs()
    for (const [jobId, { readMs }] of cancels)
      if (nowMs - readMs > timings.pendingStaleMs && !liveJobs.find(jobId)) cancels.delete(jobId)
    const subject = cancelSubject('*')
    for (let isMore = true; isMore && !signal?.aborted; ) {
      const read = await bus.readStream(streams.EVENTS.name, subject, nextCancel, cancelsAtOnce)
      for (const { sequence, body } of read) {
        const { jobId, atMs } = body as EventOf<'job.cancel-requested'> // By its subject.
        cancels.set(jobId, { atMs, readMs: nowMs })
        nextCancel = sequence + 1
      }
      isMore = read.length === cancelsAtOnce
    }
  }

  /** A request about an earlier job under the same id, whose record was removed, does not count. */
  function isCancelForgotten({ jobId, state, createdAtMs }: LiveJob): boolean {
    return state !== 'cancelling' && (cancels.get(jobId)?.atMs ?? -1) >= createdAtMs
  }

  /**
   * Publishes an event again whose handler should have changed the record by now. It has the same id, so
   * within the duplicate window this does nothing; and its handler may safely run twice.
   */
  async function remind(job: LiveJob, revision: number): Promise<boolean> {
    const { jobId, uploaded } = job
    const nowMs = clock.monotonicMs()
    const sinceMs = behindSinceMs.get(jobId) ?? nowMs
    const isLasting = nowMs - sinceMs >= timings.behindMs
    behindSinceMs.set(jobId, isLasting ? nowMs : sinceMs)
    if (!isLasting) return false
    if (!uploaded) {
      await publishAbout('job.cancel-requested', job, revision)
      return true
    }
    const atMs = nextInstantMs(job, clock.nowMs())
    const event: EventOf<'render.completed'> = {
      type: 'render.completed',
      ...factOf(job, revision, atMs),
      rendered: uploaded,
      workerId: job.worker?.id ?? '',
      renderStartedAtMs: job.startedAtMs ?? atMs,
      renderEndedAtMs: atMs,
    }
    await publishEvent(bus, event, { traceparent: attemptTraceparent(job), timeoutMs })
    return true
  }

  async function publishAbout(
    type: 'job.submitted' | 'job.queue-timeout' | 'job.cancel-requested',
    job: LiveJob,
    revision: number,
  ) {
    const event = plainEvent(type, factOf(job, revision, nextInstantMs(job, clock.nowMs())))
    await publishEvent(bus, event, { traceparent: jobTraceparent(job), timeoutMs })
  }

  const everyMs = Math.min(timings.reconcileEveryMs, timings.behindMs)
  return { ...background({ ...deps, name: 'reconciler', everyMs, pass: runOnce }), runOnce }
}

function cancelSubject(jobId: string): string {
  return subjects.event('job.cancel-requested', jobId)
}
