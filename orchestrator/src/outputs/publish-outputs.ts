import {
  type AnyEvent,
  dayOf,
  isTerminal,
  type JobRecord,
  type Notification,
  type StopOrder,
  streams,
  subjects,
} from '@avatar/contracts'
import { describeResult, publishEvent, publishNotification } from '@avatar/job-kit'
import type { Bus, Clock, ObjectStore } from '@avatar/service-kit'
import { type Output, outputsOf } from './outputs.ts'

/** Publishes what the state of a record calls for. It may safely run again. */
export type PublishOutputs = (job: JobRecord, revision: number) => Promise<void>

/** Publishing waits until the broker has stored each output. */
export function createPublishOutputs(deps: {
  bus: Bus
  objects: ObjectStore
  clock: Clock
}): PublishOutputs {
  const { bus, objects, clock } = deps

  async function publish(job: JobRecord, output: Output): Promise<unknown> {
    const { jobId, owner, traceparent } = job
    switch (output.kind) {
      case 'event':
        return isTerminal(job)
          ? publishEnd(output.event, traceparent)
          : publishEvent(bus, output.event, { traceparent })
      case 'deletion-timer':
        return bus.schedule(
          subjects.scheduledDeletion(jobId),
          subjects.dueDeletion(jobId),
          output.atMs,
          { jobId, owner },
          { traceparent },
        )
      case 'stop': {
        const order: StopOrder = { jobId, epoch: output.epoch }
        return bus.publishCore(subjects.stop(output.workerId), order)
      }
      case 'notification': {
        const note = await notificationOf(job, output.status)
        return publishNotification(bus, owner, note, { traceparent })
      }
      case 'posting': {
        const day = dayOf(output.posting.finishedAtMs)
        // The first of its subject counts: the deletion, hours later, publishes it again.
        return bus.publish(subjects.jobPosting(day, owner, jobId), output.posting, {
          traceparent,
          lastSequence: 0,
        })
      }
    }
  }

  /**
   * Publishes the end of a job once. The deletion, hours later, publishes it again, and its message id is
   * forgotten by then. An end of another epoch is that of an earlier job under the same id, whose record
   * was removed.
   */
  async function publishEnd(event: AnyEvent, traceparent: string): Promise<void> {
    const outcome = await publishEvent(bus, event, { traceparent, lastSequence: 0 })
    if (outcome === 'stored') return
    const subject = subjects.event(event.type, event.jobId)
    const stored = await bus.lastMessage(streams.EVENTS.name, subject)
    // Only our own services may publish on these subjects.
    if (stored && (stored.body as AnyEvent).epoch !== event.epoch)
      await publishEvent(bus, event, { traceparent, lastSequence: stored.sequence })
  }

  async function notificationOf(
    job: JobRecord,
    status: Notification['status'],
  ): Promise<Notification> {
    const { result } = job
    return {
      job_id: job.jobId,
      status,
      reference: job.reference,
      at: new Date(job.finishedAtMs ?? clock.nowMs()).toISOString(),
      error: job.error,
      result: result && (await describeResult(objects, job, result, { nowMs: clock.nowMs() })),
    }
  }

  return async (job, revision) => {
    const outputs = outputsOf(job, revision)
    const isStop = ({ kind }: Output) => kind === 'stop'
    // All are sent at once: which of them a crash leaves out, the next delivery of the event makes good.
    await Promise.all(outputs.filter((output) => !isStop(output)).map((one) => publish(job, one)))
    // Once a worker has forgotten the job, nothing of it is missing.
    for (const stop of outputs.filter(isStop)) await publish(job, stop)
  }
}
