import { outputKey, type StoreAnswer, type StoreRequest } from '@avatar/contracts'
import type { ObjectStore } from '@avatar/service-kit'
import type { JobLedger } from '../job-ledger.ts'

/** Answers a worker that wants to upload. The presigned URL accepts only the announced content, once. */
export function answerStore(deps: {
  ledger: JobLedger
  objects: ObjectStore
  urlTtlSeconds: number
}) {
  return async (request: StoreRequest): Promise<StoreAnswer> => {
    const { jobId, owner, epoch, bytes, sha256 } = request
    const applied = await deps.ledger.apply(owner, jobId, { kind: 'store', epoch })
    const answer = applied?.answer?.answer
    if (answer === 'stop' || answer === 'lost') return { answer }
    if (answer !== 'grant') return { answer: 'drop' }
    const key = outputKey(jobId, epoch)
    const granted = await deps.objects.presignPut(key, bytes, sha256, deps.urlTtlSeconds)
    return { answer: 'grant', key, ...granted }
  }
}
