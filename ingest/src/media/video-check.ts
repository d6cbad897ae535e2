import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, readFile, rm, stat } from 'node:fs/promises'
import { framesPerSecond, limits } from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'
import type { CheckBounds } from './check-bounds.ts'
import { runFfmpeg } from './run-ffmpeg.ts'

/** A source video that passed. */
export type CheckedVideo = {
  /** MP4, 25 frames a second, upright, its longest side at most 2048 pixels, without sound. */
  readonly path: string
  readonly bytes: number
  readonly sha256: string
  readonly seconds: number
  /** Its first frame, as PNG. */
  readonly firstFrame: string
}

/** What ffmpeg may open: the two families of containers, and what they hold in practice. */
const demuxers = { mov: 'mov,mp4,m4a,3gp,3g2,mj2', webm: 'matroska,webm' } as const
const codecs = 'h264,hevc,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,mpeg4,mjpeg,prores'

/** The first boxes of a QuickTime or MP4 file. Older ones have no `ftyp`. */
const movBoxes: ReadonlySet<string> = new Set(['ftyp', 'moov', 'mdat', 'wide', 'free', 'skip'])

/** A little more than is allowed, so that a video that is too long is seen to be. */
const decodedSeconds = limits.videoMaxSeconds + 0.5

/**
 * Checks a video by its content and makes it one that every engine can read. After an error, the caller
 * removes what it wrote.
 *
 * @throws AppError INVALID_VIDEO_FORMAT, VIDEO_UNREADABLE, VIDEO_TOO_LONG, and what `runFfmpeg` throws
 */
export async function checkVideoFile(check: {
  path: string
  out: string
  firstFrame: string
  ffmpegPath: string
  workingDir: string
  bounds: CheckBounds
  signal: AbortSignal
}): Promise<CheckedVideo> {
  const { path, out, firstFrame, bounds } = check
  const demuxer = await demuxerOf(path)
  if (!demuxer) throw new AppError('INVALID_VIDEO_FORMAT', { details: { found: 'unknown' } })
  const run = (args: string[]) =>
    runFfmpeg({
      ...check,
      args,
      bounds: {
        cpuSeconds: bounds.videoCpuSeconds,
        memoryBytes: bounds.videoMemoryBytes,
        fileBytes: bounds.videoFileBytes,
        wallMs: bounds.videoWallMs,
      },
      unreadable: 'VIDEO_UNREADABLE',
    })
  const side = limits.videoMaxSidePixels
  const source = [
    ...['-protocol_whitelist', 'file', '-format_whitelist', demuxer, '-codec_whitelist', codecs],
    ...['-max_pixels', String(side * side), '-threads', '2', '-filter_threads', '1'],
    ...[
      '-f',
      demuxer.split(',')[0] ?? '',
      '-i',
      `file:${path}`,
      '-map',
      '0:v:0',
      '-an',
      '-sn',
      '-dn',
    ],
  ]
  await run([...source, '-frames:v', '1', '-f', 'image2', '-c:v', 'png', `file:${firstFrame}`])
  requireSides(await pngSize(firstFrame))

  const progress = `${out}.progress`
  try {
    await run([
      ...['-progress', `file:${progress}`, ...source, '-t', String(decodedSeconds)],
      ...['-vf', filters, '-c:v', 'libx264', '-preset', 'veryfast', '-crf', '18'],
      ...['-maxrate', '6M', '-bufsize', '12M', '-g', String(framesPerSecond)],
      ...['-map_metadata', '-1', '-movflags', '+faststart', '-f', 'mp4', `file:${out}`],
    ])
    const frames = framesOf(await readFile(progress, 'utf8'))
    if (frames === 0) throw new AppError('VIDEO_UNREADABLE', { details: { problem: 'no frame' } })
    const seconds = frames / framesPerSecond
    if (seconds > limits.videoMaxSeconds)
      throw new AppError('VIDEO_TOO_LONG', { details: { max_seconds: limits.videoMaxSeconds } })
    // Of the file that is rendered, so that both have the same size.
    await run(['-i', `file:${out}`, '-frames:v', '1', '-f', 'image2', `file:${firstFrame}`])
    return { path: out, ...(await contentOf(out)), seconds, firstFrame }
  } finally {
    await rm(progress, { force: true })
  }
}

const longest = limits.imageUsedSidePixels
const shrink = `min(1\\,${longest}/max(iw*sar\\,ih))`
/** Square pixels, even sides, as many frames a second as are delivered. */
const filters =
  `scale='trunc(iw*sar*${shrink}/2)*2':'trunc(ih*${shrink}/2)*2',setsar=1,` +
  `fps=${framesPerSecond},format=yuv420p`

/** The kind of container, by its first bytes. */
async function demuxerOf(path: string): Promise<string | undefined> {
  const file = await open(path)
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(12), 0, 12, 0)
    if (bytesRead < 12) return undefined
    if (buffer.readUInt32BE(0) === 0x1a45dfa3) return demuxers.webm
    return movBoxes.has(buffer.toString('latin1', 4, 8)) ? demuxers.mov : undefined
  } finally {
    await file.close()
  }
}

function requireSides({ width, height }: { width: number; height: number }): void {
  const { videoMinSidePixels: min, videoMaxSidePixels: max } = limits
  if (Math.min(width, height) >= min && Math.max(width, height) <= max) return
  throw new AppError('INVALID_VIDEO_FORMAT', {
    details: { width, height, min_side_pixels: min, max_side_pixels: max },
    message: `The video must be ${min} to ${max} pixels on each side; scale it.`,
  })
}

/** From the header of a PNG that ffmpeg has written. */
async function pngSize(path: string): Promise<{ width: number; height: number }> {
  const header = (await readFile(path)).subarray(16, 24)
  return { width: header.readUInt32BE(0), height: header.readUInt32BE(4) }
}

/** The frames of the last report of `-progress`. */
function framesOf(progress: string): number {
  return Number([...progress.matchAll(/^frame=\s*(\d+)$/gm)].at(-1)?.[1] ?? 0)
}

async function contentOf(path: string): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256')
  for await (const block of createReadStream(path)) hash.update(block)
  return { bytes: (await stat(path)).size, sha256: hash.digest('hex') }
}
