import type { CancelAnswer, CancelRequest } from '@avatar/contracts'
import { factOf, plainEvent, publishEvent } from '@avatar/job-kit'
import { type Foundation, jobTraceparent } from '@avatar/service-kit'
import type { JobWriter } from '../records/job-writer.ts'
import { nextInstantMs } from '../states/next-instant.ts'

/**
 * Answers a request to cancel a job. It only publishes an event, whose handler cancels the job: a
 * transition made here could lose its outputs in a crash.
 */
export function answerCancel(
  deps: Pick<Foundation, 'bus' | 'clock' | 'timings'> & { writer: JobWriter },
) {
  return async ({ jobId, owner }: CancelRequest): Promise<CancelAnswer> => {
    const applied = await deps.writer.apply(owner, jobId, { kind: 'cancel' })
    if (!applied) return { answer: 'unknown' }
    const job = applied.value
    if (applied.answer?.answer === 'terminal') return { answer: 'terminal', state: job.state }
    const fact = factOf(job, applied.revision, nextInstantMs(job, deps.clock.nowMs()))
    await publishEvent(deps.bus, plainEvent('job.cancel-requested', fact), {
      // It belongs to the story of the job, not to that of the request, which has a link to it.
      traceparent: jobTraceparent(job),
      timeoutMs: deps.timings.requestTimeoutMs, // Nobody waits longer for the answer.
    })
    return { answer: 'cancelling' }
  }
}
