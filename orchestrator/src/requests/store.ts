import {
  outputKey,
  poolOfSubject,
  type StoreAnswer,
  type StoreRequest,
  spanNames,
  videoContentType,
} from '@avatar/contracts'
import { AppError, type Clock } from '@avatar/service-kit'
import type { WorkerLinks } from '../dispatch/worker-links.ts'
import { answering } from '../observations/answer-span.ts'
import { isBehind } from '../records/behind.ts'
import type { JobWriter } from '../records/job-writer.ts'
import type { ScaledPool } from '../scale/scaled-pool.ts'
import type { Answer } from '../states/decide.ts'

/** Answers a worker that wants to upload. The presigned URL accepts only the announced content, once. */
export function answerStore(deps: {
  writer: JobWriter
  workerLinks: WorkerLinks
  clock: Clock
  scaledPool: ScaledPool
}) {
  return async (
    request: StoreRequest,
    _traceparent: string | undefined,
    subject: string,
  ): Promise<StoreAnswer> => {
    const pool = poolOfSubject(subject)
    if (!deps.scaledPool.admits({ ...request, pool })) return { answer: 'lost' }
    const { jobId, owner, epoch } = request
    const fromMs = deps.clock.nowMs()
    const applied = await deps.writer.apply(owner, jobId, { kind: 'store', epoch })
    if (!applied) return { answer: 'drop' }
    // The worker would give up a finished render; it asks again instead.
    if (isBehind(applied.value, request)) throw new AppError('BROKER_UNAVAILABLE')
    const attempt = { jobId, epoch, traceparent: applied.value.traceparent }
    return answering(deps.clock, spanNames.answerStore, { attempt, fromMs }, () =>
      answerOf(request, applied.answer?.answer, applied.value.worker?.pool),
    )
  }

  async function answerOf(
    { jobId, epoch, bytes, sha256 }: StoreRequest,
    answer: Answer['answer'] | undefined,
    pool: string | undefined,
  ): Promise<StoreAnswer> {
    if (answer === 'stop' || answer === 'lost') return { answer }
    if (answer !== 'grant') return { answer: 'drop' }
    const key = outputKey(jobId, epoch)
    const content = { bytes, sha256, contentType: videoContentType }
    const granted = await deps.workerLinks.toStore(key, content, pool)
    return { answer: 'grant', key, ...granted }
  }
}
