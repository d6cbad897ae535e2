import type { JobRecord, RenderOrder } from '@avatar/contracts'
import { attemptTraceparent } from '@avatar/service-kit'
import type { WorkerLinks } from './worker-links.ts'

/** What a worker is given for one attempt: the job's settings, and URLs that work for a while. */
export function createRenderOrders({ workerLinks }: { workerLinks: WorkerLinks }) {
  return async (job: JobRecord): Promise<RenderOrder> => {
    const presigned = async ({ key, bytes, sha256 }: JobRecord['image'] | JobRecord['audio']) => ({
      url: await workerLinks.toRead(key, job.worker?.pool),
      bytes,
      sha256,
    })
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
