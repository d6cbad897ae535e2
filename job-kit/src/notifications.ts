import { type Notification, subjects } from '@avatar/contracts'
import type { Bus } from '@avatar/service-kit'

/**
 * Tells a publisher what became of its submission.
 *
 * @param instance distinguishes two notifications about the same job and status; without it the second
 * is not stored
 */
export async function publishNotification(
  bus: Bus,
  publisher: string,
  note: Notification,
  { traceparent, instance }: { traceparent?: string; instance?: number } = {},
): Promise<void> {
  const parts = [note.job_id, 'notify', note.status, ...(instance === undefined ? [] : [instance])]
  await bus.publish(subjects.notify(publisher, note.status), note, {
    messageId: parts.join(':'),
    traceparent,
  })
}
