import {
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
        // The deletion, hours later, publishes the end of the job again: its id is forgotten by then.
        return publishEvent(bus, output.event, { traceparent, isFirstOfSubject: isTerminal(job) })
      case 'gpu-entry':
        // No message id: a duplicate would be acknowledged and not stored. The subject is unique.
        return bus.publish(subjects.gpuWork(jobId), { jobId, owner }, { traceparent })
      case 'no-gpu-entry':
        return bus.purge(streams.GPU.name, subjects.gpuWork(jobId))
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
    }
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
    for (const output of outputsOf(job, revision)) await publish(job, output)
  }
}
