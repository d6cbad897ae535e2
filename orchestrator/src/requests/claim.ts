import type { ClaimAnswer, ClaimRequest, JobRecord } from '@avatar/contracts'
import type { ObjectStore } from '@avatar/service-kit'
import type { JobLedger } from '../job-ledger.ts'

/** Answers a worker that asks for the job it pulled. It may change the record, but publishes nothing. */
export function answerClaim(deps: {
  ledger: JobLedger
  objects: ObjectStore
  urlTtlSeconds: number
}) {
  return async ({ jobId, owner, ...worker }: ClaimRequest): Promise<ClaimAnswer> => {
    const applied = await deps.ledger.apply(owner, jobId, { kind: 'claim', ...worker })
    // Without a record the job ended so long ago that its record has expired.
    if (!applied?.answer) return { answer: 'drop' }
    const { answer } = applied
    if (answer.answer === 'later') return answer
    if (answer.answer !== 'render') return { answer: 'drop' }
    return renderOrder(applied.value)
  }

  async function renderOrder(job: JobRecord): Promise<ClaimAnswer> {
    const presigned = async ({ key, bytes, sha256 }: JobRecord['image'] | JobRecord['audio']) => ({
      url: await deps.objects.presignGet(key, deps.urlTtlSeconds),
      bytes,
      sha256,
    })
    return {
      answer: 'render',
      epoch: job.epoch,
      image: await presigned(job.image),
      audio: await presigned(job.audio),
      prompt: job.prompt,
      seed: job.seed,
      frames: job.frames,
      delivery: job.delivery,
      deadlineSeconds: job.deadlineSeconds,
      traceparent: job.traceparent,
    }
  }
}
