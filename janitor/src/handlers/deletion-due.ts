import { deletionDueSchema, isTerminal, type JobRecord, jobKey, jobPrefix } from '@avatar/contracts'
import {
  AppError,
  type Bus,
  type Clock,
  type Delivery,
  type ObjectStore,
  type RecordStore,
} from '@avatar/service-kit'
import { announceDeletion } from '../announce-deletion.ts'

/**
 * The deletion timer of a job fired: delete everything the job owns, then say so. Deleting what is
 * gone succeeds, so a timer may fire twice. The record has the last word: a living job keeps its
 * media whatever a timer says.
 */
export function onDeletionDue(deps: {
  bus: Bus
  objects: ObjectStore
  records: RecordStore<JobRecord>
  clock: Clock
  onDeleted?: (objects: number) => void
}) {
  const { bus, objects, records, clock } = deps
  return async (body: unknown, delivery: Delivery): Promise<void> => {
    const parsed = deletionDueSchema.safeParse(body)
    if (!parsed.success) throw new AppError('INVALID_MESSAGE', { cause: parsed.error })
    const { jobId, owner } = parsed.data
    const found = await records.find(jobKey(owner, jobId))
    const log = delivery.log.child({ jobId, attempt: found?.value.epoch })
    if (found && !isTerminal(found.value))
      return log.warn({ state: found.value.state }, 'deletion of a living job refused')

    const deleted = await objects.deletePrefix(jobPrefix(jobId))
    deps.onDeleted?.(deleted)
    log.info({ objects: deleted }, 'media deleted')
    const { epoch } = found?.value ?? { epoch: 0 }
    const fact = { jobId, owner, epoch, revision: found?.revision ?? 0, atMs: clock.nowMs() }
    await announceDeletion(bus, fact, delivery.traceparent)
  }
}
