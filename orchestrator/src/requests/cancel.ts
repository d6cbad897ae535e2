import type { CancelAnswer, CancelRequest } from '@avatar/contracts'
import { factOf, plainEvent, publishEvent } from '@avatar/job-kit'
import type { Foundation } from '@avatar/service-kit'
import type { JobLedger } from '../job-ledger.ts'

/**
 * Answers a request to cancel a job. It only publishes an event, whose handler cancels the job: a
 * transition made here could lose its outputs in a crash.
 */
export function answerCancel(
  deps: Pick<Foundation, 'bus' | 'clock' | 'timings'> & { ledger: JobLedger },
) {
  return async (
    { jobId, owner }: CancelRequest,
    traceparent: string | undefined,
  ): Promise<CancelAnswer> => {
    const applied = await deps.ledger.apply(owner, jobId, { kind: 'cancel' })
    if (!applied) return { answer: 'unknown' }
    const job = applied.value
    if (applied.answer?.answer === 'terminal') return { answer: 'terminal', state: job.state }
    const fact = factOf(job, applied.revision, deps.clock.nowMs())
    await publishEvent(deps.bus, plainEvent('job.cancel-requested', fact), {
      traceparent,
      timeoutMs: deps.timings.requestTimeoutMs, // Nobody waits longer for the answer.
    })
    return { answer: 'cancelling' }
  }
}
