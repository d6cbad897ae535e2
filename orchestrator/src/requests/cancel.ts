import {
  type CancelAnswer,
  cancelRequestSchema,
  type EventOf,
  eventId,
  subjects,
} from '@avatar/contracts'
import { AppError, type Bus, type Clock } from '@avatar/service-kit'
import type { JobLedger } from '../job-ledger.ts'

/**
 * Somebody wants a job cancelled. The wish is published as an event and its handler acts: a
 * transition made here would lose its outputs in a crash.
 */
export function answerCancel(deps: { ledger: JobLedger; bus: Bus; clock: Clock }) {
  return async (body: unknown, traceparent: string | undefined): Promise<CancelAnswer> => {
    const parsed = cancelRequestSchema.safeParse(body)
    if (!parsed.success) throw new AppError('INVALID_MESSAGE', { cause: parsed.error })
    const { jobId, owner } = parsed.data
    const applied = await deps.ledger.apply(owner, jobId, { kind: 'cancel' })
    if (!applied) return { answer: 'unknown' }
    const job = applied.value
    if (applied.answer?.answer === 'terminal') return { answer: 'terminal', state: job.state }
    const event: EventOf<'job.cancel-requested'> = {
      type: 'job.cancel-requested',
      jobId,
      owner,
      epoch: job.epoch,
      revision: applied.revision,
      atMs: deps.clock.nowMs(),
    }
    await deps.bus.publish(subjects.event(event.type, jobId), event, {
      messageId: eventId(event),
      ...(traceparent ? { traceparent } : {}),
    })
    return { answer: 'cancelling' }
  }
}
