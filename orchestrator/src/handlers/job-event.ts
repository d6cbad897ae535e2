import type { EventOf, orchestratorEventTypes } from '@avatar/contracts'
import type { Delivery } from '@avatar/service-kit'
import type { Message } from '../decide.ts'
import type { JobLedger } from '../job-ledger.ts'
import { logFailedJob } from '../log-failed-job.ts'
import type { PublishOutputs } from '../publish-outputs.ts'

/** An event that may change a job's record. */
type JobEvent = EventOf<(typeof orchestratorEventTypes)[number]>

/**
 * Applies an event to its job. Even if that changes nothing, it publishes the outputs of the record's
 * state, because a crash may have prevented that the first time.
 */
export function onJobEvent(deps: { ledger: JobLedger; publishOutputs: PublishOutputs }) {
  return async (event: JobEvent, delivery: Delivery): Promise<void> => {
    const log = delivery.log.child({ jobId: event.jobId, attempt: event.epoch })
    const applied = await deps.ledger.apply(event.owner, event.jobId, messageOf(event))
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
      return { kind: 'attempt-lost', epoch: event.epoch }
    case 'job.overdue':
      return { kind: 'overdue', epoch: event.epoch }
    case 'render.started':
      return { kind: 'started', epoch: event.epoch }
    case 'render.failed':
      return { kind: 'failed', epoch: event.epoch, code: event.code }
    case 'render.released':
      return { kind: 'released', epoch: event.epoch }
    case 'render.cancelled':
      return { kind: 'cancelled', epoch: event.epoch }
  }
}
