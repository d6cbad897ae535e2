import { type EventOf, eventId, subjects } from '@avatar/contracts'
import type { Bus } from '@avatar/service-kit'

/** Says that nothing a job owned is left. The orchestrator notes it in the record. */
export async function announceDeletion(
  bus: Bus,
  fact: Omit<EventOf<'job.deleted'>, 'type'>,
  traceparent: string,
): Promise<void> {
  const event: EventOf<'job.deleted'> = { type: 'job.deleted', ...fact }
  const messageId = eventId(event)
  await bus.publish(subjects.event(event.type, event.jobId), event, { messageId, traceparent })
}
