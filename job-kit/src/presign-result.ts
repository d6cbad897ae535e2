import type { JobRecord, Rendered } from '@avatar/contracts'
import type { ObjectStore } from '@avatar/service-kit'

/** A presigned URL to download a job's video: it expires with the video, or earlier after `maxSeconds`. */
export function presignResult(
  objects: ObjectStore,
  job: JobRecord,
  result: Rendered,
  { nowMs, maxSeconds = Infinity }: { nowMs: number; maxSeconds?: number },
): Promise<string> {
  const leftSeconds = Math.floor(((job.expiresAtMs ?? nowMs) - nowMs) / 1000)
  const ttlSeconds = Math.max(1, Math.min(maxSeconds, leftSeconds))
  return objects.presignDownload(result.key, ttlSeconds, `${job.jobId}.mp4`)
}
