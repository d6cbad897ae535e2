import { type DeletionDue, isTerminal, jobKey, jobPrefix } from '@avatar/contracts'
import { type JobRecords, plainEvent, publishEvent } from '@avatar/job-kit'
import type { Delivery, Foundation, ObjectStore } from '@avatar/service-kit'

/**
 * The deletion timer of a job fired: delete everything that the job owns, then publish that. Deleting
 * what is gone succeeds, so a timer may fire twice. The record decides: a job that has not ended keeps
 * its media, whatever a timer says.
 */
export function onDeletionDue(
  deps: Pick<Foundation, 'bus' | 'clock'> & {
    objects: ObjectStore
    records: JobRecords
    onDeleted?: (objects: number) => void
  },
) {
  const { bus, objects, records, clock } = deps
  return async ({ jobId, owner }: DeletionDue, delivery: Delivery): Promise<void> => {
    const found = await records.find(jobKey(owner, jobId))
    const log = delivery.log.child({ jobId, attempt: found?.value.epoch })
    if (found && !isTerminal(found.value))
      return log.warn({ state: found.value.state }, 'deletion of a living job refused')

    const deleted = await objects.deletePrefix(jobPrefix(jobId))
    deps.onDeleted?.(deleted)
    log.info({ objects: deleted }, 'media deleted')
    const { epoch } = found?.value ?? { epoch: 0 }
    const fact = { jobId, owner, epoch, revision: found?.revision ?? 0, atMs: clock.nowMs() }
    await publishEvent(bus, plainEvent('job.deleted', fact), { traceparent: delivery.traceparent })
  }
}
