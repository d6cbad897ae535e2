import type { JobRecord, Rendered } from '@avatar/contracts'
import type { ObjectStore } from '@avatar/service-kit'

/**
 * What clients and publishers are told of a job's video. The presigned URL to download it expires with the
 * video, or earlier after `maxSeconds`.
 */
export async function describeResult(
  objects: ObjectStore,
  job: JobRecord,
  result: Rendered,
  { nowMs, maxSeconds = Infinity }: { nowMs: number; maxSeconds?: number },
) {
  const leftSeconds = Math.floor(((job.expiresAtMs ?? nowMs) - nowMs) / 1000)
  const ttlSeconds = Math.max(1, Math.min(maxSeconds, leftSeconds))
  return {
    url: await objects.presignDownload(result.key, ttlSeconds, `${job.jobId}.mp4`),
    expires_at: new Date(job.expiresAtMs ?? 0).toISOString(),
    bytes: result.bytes,
    sha256: result.sha256,
    width: result.width,
    height: result.height,
    fps: result.fps,
    video_seconds: result.videoSeconds,
    engine: result.engine,
    degraded: result.degraded,
  }
}
