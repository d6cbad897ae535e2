import type { EventOf, orchestratorEventTypes, Timings } from '@avatar/contracts'
import type { Delivery } from '@avatar/service-kit'
import { logFailedJob } from '../log-failed-job.ts'
import type { PublishOutputs } from '../outputs/publish-outputs.ts'
import { mayCatchUp } from '../records/behind.ts'
import type { JobWriter } from '../records/job-writer.ts'
import type { Message } from '../states/decide.ts'

/** An event that may change a job's record. */
type JobEvent = EventOf<(typeof orchestratorEventTypes)[number]>

/**
 * Applies an event to its job. Even if that changes nothing, it publishes the outputs of the record's
 * state, because a crash may have prevented that the first time.
 */
export function onJobEvent(deps: {
  writer: JobWriter
  publishOutputs: PublishOutputs
  timings: Timings
}) {
  return async (event: JobEvent, delivery: Delivery): Promise<void> => {
    const log = delivery.log.child({ jobId: event.jobId, attempt: event.epoch })
    const applied = await deps.writer.apply(event.owner, event.jobId, messageOf(event))
    if (mayCatchUp(applied?.value, event, delivery))
      return delivery.putBack(deps.timings.handlerBackoffMs)
    if (!applied) return log.warn('event of an unknown job ignored')
    log.info({ state: applied.value.state, changed: applied.changed }, 'event handled')
    logFailedJob(log, applied)
    await deps.publishOutputs(applied.value, applied.revision)
  }
}

/** The message that an event carries for the state machine. */
function messageOf(event: JobEvent): Message {
  switch (event.type) {
    case 'job.submitted':
      return { kind: 'submitted' }
    case 'job.cancel-requested':
      return { kind: 'cancel-requested' }
    case 'job.queue-timeout':
      return { kind: 'queue-timeout' }
    case 'job.deleted':
      return { kind: 'deleted' }
    case 'job.attempt-lost':
      return { kind: 'attempt-lost', epoch: event.epoch, used: event.used }
    case 'job.overdue':
      return { kind: 'overdue', epoch: event.epoch, used: event.used }
    case 'render.started':
      return { kind: 'started', epoch: event.epoch }
    case 'render.failed': {
      const { epoch, code, message, used } = event
      return { kind: 'failed', epoch, code, message, used }
    }
    case 'render.released':
      return { kind: 'released', epoch: event.epoch, used: event.used }
    case 'render.cancelled':
      return { kind: 'cancelled', epoch: event.epoch, used: event.used }
  }
}
