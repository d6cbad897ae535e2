import { type Notification, subjects } from '@avatar/contracts'
import type { Bus } from '@avatar/service-kit'

/**
 * Tells a publisher what became of its submission.
 *
 * @param instance tells two notifications of the same job and status apart; without it the second is
 * not stored
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
