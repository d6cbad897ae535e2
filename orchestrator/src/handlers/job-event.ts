import type { EventOf, orchestratorEventTypes } from '@avatar/contracts'
import type { Delivery } from '@avatar/service-kit'
import type { Message } from '../decide.ts'
import type { JobLedger } from '../job-ledger.ts'
import type { PublishOutputs } from '../publish-outputs.ts'

/** An event that moves a job's record. */
type JobEvent = EventOf<(typeof orchestratorEventTypes)[number]>

/**
 * An event moved a job, or changed nothing: either way the outputs of the state the record is in are
 * published, because a crash may have swallowed them the first time.
 */
export function onJobEvent(deps: { ledger: JobLedger; publishOutputs: PublishOutputs }) {
  return async (event: JobEvent, delivery: Delivery): Promise<void> => {
    const log = delivery.log.child({ jobId: event.jobId, attempt: event.epoch })
    const applied = await deps.ledger.apply(event.owner, event.jobId, messageOf(event))
    if (!applied) return log.warn('event of an unknown job ignored')
    log.info({ state: applied.value.state, changed: applied.changed }, 'event handled')
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
