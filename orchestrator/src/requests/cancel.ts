import type { CancelAnswer, CancelRequest } from '@avatar/contracts'
import { factOf, plainEvent, publishEvent } from '@avatar/job-kit'
import type { Bus, Clock } from '@avatar/service-kit'
import type { JobLedger } from '../job-ledger.ts'

/**
 * Somebody wants a job cancelled. The wish is published as an event and its handler acts: a
 * transition made here would lose its outputs in a crash.
 */
export function answerCancel(deps: { ledger: JobLedger; bus: Bus; clock: Clock }) {
  return async (
    { jobId, owner }: CancelRequest,
    traceparent: string | undefined,
  ): Promise<CancelAnswer> => {
    const applied = await deps.ledger.apply(owner, jobId, { kind: 'cancel' })
    if (!applied) return { answer: 'unknown' }
    const job = applied.value
    if (applied.answer?.answer === 'terminal') return { answer: 'terminal', state: job.state }
    const fact = factOf(job, applied.revision, deps.clock.nowMs())
    await publishEvent(deps.bus, plainEvent('job.cancel-requested', fact), { traceparent })
    return { answer: 'cancelling' }
  }
}
