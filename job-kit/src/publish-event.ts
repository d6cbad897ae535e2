import { type AnyEvent, type EventType, eventId, type JobRecord, subjects } from '@avatar/contracts'
import type { Bus, PublishOptions } from '@avatar/service-kit'

/** What every event says of its job. */
export type Fact = Pick<AnyEvent, 'jobId' | 'owner' | 'epoch' | 'revision' | 'atMs'>

/** The event types that say nothing beside the fact that they happened. */
type PlainEventType = {
  [T in EventType]: Exclude<keyof Extract<AnyEvent, { type: T }>, keyof Fact | 'type'> extends never
    ? T
    : never
}[EventType]

/** The fact for an event about a job, as its record stands. */
export function factOf(job: JobRecord, revision: number, atMs: number): Fact {
  const { jobId, owner, epoch } = job
  return { jobId, owner, epoch, revision, atMs }
}

/** An event that says nothing beside the fact that it happened. */
export function plainEvent<T extends PlainEventType>(type: T, fact: Fact): AnyEvent & { type: T } {
  return { type, ...fact } as AnyEvent & { type: T } // Such a type has no other field.
}

/**
 * Publishes an event until the broker has stored it. Its message id is made of job, type and epoch, so
 * the same fact is stored once within the stream's duplicate window.
 */
export async function publishEvent(
  bus: Bus,
  event: AnyEvent,
  options: Omit<PublishOptions, 'messageId'> = {},
): Promise<void> {
  const subject = subjects.event(event.type, event.jobId)
  await bus.publish(subject, event, { messageId: eventId(event), ...options })
}
