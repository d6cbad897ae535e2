import type { JobRecord, RenderOrder } from '@avatar/contracts'
import { attemptTraceparent } from '@avatar/service-kit'
import type { WorkerLinks } from './worker-links.ts'

type StoredInput = Pick<JobRecord['image'], 'key' | 'bytes' | 'sha256'>

/** What a worker is given for one attempt: the job's settings, and URLs that work for a while. */
export function createRenderOrders({ workerLinks }: { workerLinks: WorkerLinks }) {
  return async (job: JobRecord): Promise<RenderOrder> => {
    const presigned = async ({ key, bytes, sha256 }: StoredInput) => ({
      url: await workerLinks.toRead(key, job.worker?.pool),
      bytes,
      sha256,
    })
    const presignedVoice = async (voice: StoredInput & { startSeconds: number }) => ({
      ...(await presigned(voice)),
      startSeconds: voice.startSeconds,
    })
    const { jobId, owner, epoch, prompt, seed, frames, delivery, how, voices, source } = job
    return {
      answer: 'render',
      ...{ jobId, owner, epoch },
      image: await presigned(job.image),
      audio: await presigned(job.audio),
      ...(voices && { voices: await Promise.all(voices.map(presignedVoice)) }),
      ...(source && { source: await presigned(source) }),
      ...(how && { how }),
      ...{ prompt, seed, frames, delivery, deadlineSeconds: job.deadlineSeconds },
      traceparent: attemptTraceparent(job),
    }
  }
}

export type RenderOrders = ReturnType<typeof createRenderOrders>
