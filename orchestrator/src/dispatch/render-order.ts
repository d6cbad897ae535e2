import type { JobRecord, RenderOrder } from '@avatar/contracts'
import { attemptTraceparent, type ObjectStore } from '@avatar/service-kit'

/** What a worker is given for one attempt: the job's settings, and URLs that work for a while. */
export function createRenderOrders(deps: { objects: ObjectStore; urlTtlSeconds: number }) {
  const presigned = async ({ key, bytes, sha256 }: JobRecord['image'] | JobRecord['audio']) => ({
    url: await deps.objects.presignGet(key, deps.urlTtlSeconds),
    bytes,
    sha256,
  })

  return async (job: JobRecord): Promise<RenderOrder> => {
    const { jobId, owner, epoch, prompt, seed, frames, delivery } = job
    return {
      answer: 'render',
      ...{ jobId, owner, epoch },
      image: await presigned(job.image),
      audio: await presigned(job.audio),
      ...{ prompt, seed, frames, delivery, deadlineSeconds: job.deadlineSeconds },
      traceparent: attemptTraceparent(job),
    }
  }
}

export type RenderOrders = ReturnType<typeof createRenderOrders>
