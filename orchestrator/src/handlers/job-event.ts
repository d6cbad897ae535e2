import { type AnyEvent, type EventType, eventSchemas } from '@avatar/contracts'
import { AppError, type Delivery } from '@avatar/service-kit'
import type { Message } from '../decide.ts'
import type { JobLedger } from '../job-ledger.ts'
import type { PublishOutputs } from '../publish-outputs.ts'

/**
 * An event moved a job, or changed nothing: either way the outputs of the state the record is in are
 * published, because a crash may have swallowed them the first time.
 */
export function onJobEvent(deps: { ledger: JobLedger; publishOutputs: PublishOutputs }) {
  return async (body: unknown, delivery: Delivery): Promise<void> => {
    const event = parseEvent(body)
    const message = messageOf(event)
    const log = delivery.log.child({ jobId: event.jobId, attempt: event.epoch })
    if (!message) throw new AppError('INVALID_MESSAGE', { details: { type: event.type } })
    const applied = await deps.ledger.apply(event.owner, event.jobId, message)
    if (!applied) return log.warn('event of an unknown job ignored')
    log.info({ state: applied.value.state, changed: applied.changed }, 'event handled')
    await deps.publishOutputs(applied.value, applied.revision)
  }
}

/** @throws AppError INVALID_MESSAGE */
export function parseEvent(body: unknown): AnyEvent {
  const type = (body as { type?: EventType } | null)?.type
  const schema = type === undefined ? undefined : eventSchemas[type]
  const parsed = schema?.safeParse(body)
  if (!parsed?.success) throw new AppError('INVALID_MESSAGE', { cause: parsed?.error })
  return parsed.data
}

/** The message for the state machine that an event carries; undefined for events nobody acts on. */
function messageOf(event: AnyEvent): Message | undefined {
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
    default:
      return undefined
  }
}
