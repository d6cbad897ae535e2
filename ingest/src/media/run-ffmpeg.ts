import { AppError } from '@avatar/service-kit'
import type { CheckBounds } from './check-bounds.ts'
import { failureOf } from './decode-audio.ts'
import { runLimited } from './run-limited.ts'

/**
 * Runs ffmpeg under the limits of a decoder, with these arguments behind the common ones.
 *
 * @throws AppError STORAGE_FULL; UNEXPECTED without ffmpeg; DRAINING when aborted; `unreadable` else
 * @throws MediumTooCostly when it passes its limits
 */
export async function runFfmpeg(request: {
  ffmpegPath: string
  args: readonly string[]
  workingDir: string
  bounds: Pick<CheckBounds, 'fileBytes'> & {
    cpuSeconds: number
    memoryBytes: number
    wallMs: number
  }
  unreadable: 'AUDIO_UNREADABLE' | 'VIDEO_UNREADABLE'
  signal: AbortSignal
}): Promise<void> {
  const { ffmpegPath, args, workingDir, bounds, unreadable, signal } = request
  const { cpuSeconds, memoryBytes, fileBytes, wallMs } = bounds
  const outcome = await runLimited({
    command: ffmpegPath,
    args: ['-nostdin', '-hide_banner', '-nostats', '-v', 'error', '-y', ...args],
    limits: { cpuSeconds, memoryBytes, fileBytes },
    workingDir,
    env: {},
    wallMs,
    signal,
  }).catch((cause) => {
    throw new AppError('UNEXPECTED', { cause })
  })
  if (outcome.exitCode !== 0 || outcome.aborted) throw failureOf(outcome, unreadable)
}
