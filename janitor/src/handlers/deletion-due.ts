import {
  type DeletionDue,
  isTerminal,
  jobKey,
  jobPrefix,
  spanAttributes,
  spanNames,
  templateOf,
} from '@avatar/contracts'
import { deletedEvent, type JobRecords, publishEvent } from '@avatar/job-kit'
import {
  continueTrace,
  type Delivery,
  describeSpan,
  type Foundation,
  jobTraceparent,
  type ObjectStore,
  rootTrace,
  type TraceDelivery,
  withSpan,
} from '@avatar/service-kit'
import type { MayDelete } from '../may-delete.ts'
import type { MeasureDeletions } from '../measure-deletions.ts'

/**
 * The deletion timer of a job fired: delete everything that the job owns, then publish that, with a list. Deleting
 * what is gone succeeds, so a timer may fire twice. The record decides: a job that has not ended keeps
 * its media, whatever a timer says, and so does one whose time has not come by the broker's clock.
 */
export function onDeletionDue(
  deps: Pick<Foundation, 'bus' | 'clock' | 'timings'> & {
    objects: ObjectStore
    records: JobRecords
    mayDelete: MayDelete
    measure: Pick<MeasureDeletions, 'deleted' | 'jobDeleted'>
  },
) {
  const { bus, objects, records, clock, timings, mayDelete, measure } = deps
  return async ({ jobId, owner }: DeletionDue, delivery: Delivery): Promise<void> => {
    const found = await records.find(jobKey(owner, jobId))
    const log = delivery.log.child({ jobId, attempt: found?.value.epoch })
    if (found && !isTerminal(found.value))
      return log.warn({ state: found.value.state }, 'deletion of a living job refused')
    const leftMs = (found?.value.expiresAtMs ?? 0) - clock.nowMs()
    if (leftMs > 0) return delivery.putBack(leftMs)
    if (!mayDelete()) return delivery.putBack(timings.handlerBackoffMaxMs)

    const deleted = await withSpan(
      spanNames.deleteObjects,
      {},
      () => objects.deletePrefix(jobPrefix(jobId)),
      'client',
    )
    describeSpan({
      [spanAttributes.objects]: deleted.length,
      [spanAttributes.lateSeconds]: found ? -leftMs / 1000 : undefined,
    })
    measure.deleted(deleted.length, 'due')
    if (found) measure.jobDeleted(found.value, clock.nowMs())
    log.info({ objects: deleted.length }, 'media deleted')
    const { epoch } = found?.value ?? { epoch: 0 }
    const fact = { jobId, owner, epoch, revision: found?.revision ?? 0, atMs: clock.nowMs() }
    const removed = deleted.map(({ key, bytes }) => ({ key, bytes }))
    await publishEvent(bus, deletedEvent(fact, removed), { traceparent: delivery.traceparent })
  }
}

/**
 * A deletion comes hours after its job: it is a trace of its own, with a link to the job's. Its lines in
 * the log are still the job's.
 */
export const traceDeletion: TraceDelivery = (traceparent, subject) => {
  const { jobId } = templateOf(subject)
  const jobTrace = continueTrace(traceparent)
  const isKnown = traceparent !== undefined && jobId !== undefined
  return {
    ...{ trace: rootTrace(jobTrace.isSampled), jobTrace },
    links: isKnown ? [jobTraceparent({ jobId, traceparent })] : [],
  }
}
