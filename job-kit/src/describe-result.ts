import { type JobRecord, type Rendered, videoContentType } from '@avatar/contracts'
import type { LinkOptions, ObjectStore } from '@avatar/service-kit'

/** How long a link may work at most; without `maxSeconds`, until the video is deleted. */
type LinkTime = { nowMs: number; maxSeconds?: number }

/**
 * A presigned link to a job's video that plays in a browser, or that a browser saves. It expires with
 * the video, or earlier after `maxSeconds`.
 */
export function presignVideo(
  objects: ObjectStore,
  job: JobRecord,
  result: Rendered,
  link: Pick<LinkOptions, 'method' | 'disposition'>,
  { nowMs, maxSeconds = Infinity }: LinkTime,
): Promise<string> {
  const leftSeconds = Math.floor(((job.expiresAtMs ?? nowMs) - nowMs) / 1000)
  return objects.presignLink(result.key, Math.max(1, Math.min(maxSeconds, leftSeconds)), {
    ...link,
    contentType: videoContentType,
    fileName: `avatar-${job.jobId.slice(0, 8)}.mp4`,
  })
}

/** What clients and publishers are told of a job's video. The link plays it. */
export async function describeResult(
  objects: ObjectStore,
  job: JobRecord,
  result: Rendered,
  when: LinkTime,
) {
  return {
    url: await presignVideo(objects, job, result, { disposition: 'inline' }, when),
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
