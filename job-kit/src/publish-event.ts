import {
  type AnyEvent,
  type EventType,
  eventId,
  type JobRecord,
  limits,
  type RemovedObject,
  subjects,
} from '@avatar/contracts'
import type { Bus, PublishOptions, PublishOutcome } from '@avatar/service-kit'

/** What every event says about its job. */
export type Fact = Pick<AnyEvent, 'jobId' | 'owner' | 'epoch' | 'revision' | 'atMs'>

/** The types of events that have no fields of their own. */
type PlainEventType = {
  [T in EventType]: Exclude<keyof Extract<AnyEvent, { type: T }>, keyof Fact | 'type'> extends never
    ? T
    : never
}[EventType]

/** The fields that every event has, from the job's record. */
export function factOf(
  job: Pick<JobRecord, 'jobId' | 'owner' | 'epoch'>,
  revision: number,
  atMs: number,
): Fact {
  const { jobId, owner, epoch } = job
  return { jobId, owner, epoch, revision, atMs }
}

/** An event that has no fields of its own. */
export function plainEvent<T extends PlainEventType>(type: T, fact: Fact): AnyEvent & { type: T } {
  return { type, ...fact } as AnyEvent & { type: T } // Such a type has no other field.
}

/** The media of a job are deleted; the event names as many of the removed objects as it may. */
export function deletedEvent(
  fact: Fact,
  removed: readonly RemovedObject[],
): AnyEvent & { type: 'job.deleted' } {
  return { type: 'job.deleted', ...fact, removed: removed.slice(0, limits.deletedObjectsNamed) }
}

/**
 * Publishes an event until the broker has stored it. Its message id consists of job, type and epoch, so
 * the stream stores the same fact once within its duplicate window.
 */
export async function publishEvent(
  bus: Bus,
  event: AnyEvent,
  options: Omit<PublishOptions, 'messageId'> = {},
): Promise<PublishOutcome> {
  const subject = subjects.event(event.type, event.jobId)
  return bus.publish(subject, event, { messageId: eventId(event), ...options })
}
