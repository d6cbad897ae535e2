import {
  type ClaimAnswer,
  type ClaimRequest,
  hasOpenAttempt,
  poolOfSubject,
  spanNames,
} from '@avatar/contracts'
import type { Clock } from '@avatar/service-kit'
import type { RenderOrders } from '../dispatch/render-order.ts'
import { answering } from '../observations/answer-span.ts'
import type { JobWriter } from '../records/job-writer.ts'
import type { ScaledPool } from '../scale/scaled-pool.ts'

/** Answers a worker whose URLs have expired before it had fetched the inputs. It changes nothing. */
export function answerClaim(deps: {
  writer: Pick<JobWriter, 'find'>
  renderOrder: RenderOrders
  clock: Clock
  scaledPool: ScaledPool
}) {
  return async (
    request: ClaimRequest,
    _traceparent: string | undefined,
    subject: string,
  ): Promise<ClaimAnswer> => {
    const pool = poolOfSubject(subject)
    if (!deps.scaledPool.admits({ ...request, pool })) return { answer: 'lost' }
    const { jobId, owner, epoch, workerId, incarnation } = request
    const fromMs = deps.clock.nowMs()
    const job = (await deps.writer.find(owner, jobId))?.value
    const isTheirs =
      job !== undefined &&
      hasOpenAttempt(job) &&
      job.epoch === epoch &&
      job.worker?.id === workerId &&
      job.worker.incarnation === incarnation
    if (!isTheirs) return { answer: 'lost' }
    const asked = { attempt: job, fromMs }
    return answering(deps.clock, spanNames.answerClaim, asked, () => deps.renderOrder(job))
  }
}
