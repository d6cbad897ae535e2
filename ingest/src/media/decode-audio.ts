import { constants } from 'node:os'
import { limits } from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'
import type { AudioFormat } from './audio-format.ts'
import type { CheckBounds } from './check-bounds.ts'
import { keptSampleRates } from './pcm-wav.ts'
import { type LimitedOutcome, runLimited } from './run-limited.ts'

/** A little more than is allowed, so that what is too long shows. */
export const decodedSeconds = limits.audioMaxSeconds + 0.5

/** Decoders for what WAV and MP3 files hold in practice. A WAV file may name any codec there is. */
const allowedCodecs = [
  ...['pcm_u8', 'pcm_s16le', 'pcm_s24le', 'pcm_s32le', 'pcm_f32le', 'pcm_f64le'],
  ...['pcm_alaw', 'pcm_mulaw', 'adpcm_ms', 'adpcm_ima_wav', 'mp3', 'mp3float'],
]

const { errno } = constants

/** ffmpeg exits with the low byte of a negative errno. These are about our disk and our descriptors. */
const fullDiskExits = new Set([errno.ENOSPC, errno.EDQUOT].map(lowByteOfNegative))
const ourExits = new Set([
  ...[errno.ENOENT, errno.EACCES, errno.EROFS, errno.EMFILE, errno.ENFILE].map(lowByteOfNegative),
  // The shell's own: the program cannot be executed, or is not there.
  126,
  127,
])

function lowByteOfNegative(number: number): number {
  return -number & 0xff
}

/**
 * Decodes a WAV or MP3 file to 16-bit PCM in a WAV file, with the rate and the channels it has, up
 * to 48 kHz and two channels, as far as `decodedSeconds`.
 *
 * Throws AUDIO_UNREADABLE when ffmpeg cannot or takes too much, STORAGE_FULL, UNEXPECTED when there
 * is no ffmpeg, DRAINING when aborted.
 */
export async function decodeAudio(request: {
  ffmpegPath: string
  format: AudioFormat
  path: string
  out: string
  workingDir: string
  bounds: CheckBounds
  signal: AbortSignal
}): Promise<void> {
  const run = () => runFfmpeg(request)
  let outcome = await run()
  const killedByOthers = outcome.signal === 'SIGKILL' && !outcome.timedOut && !outcome.aborted
  if (killedByOthers) outcome = await run()
  if (outcome.exitCode !== 0 || outcome.aborted) throw failureOf(outcome)
}

async function runFfmpeg(request: Parameters<typeof decodeAudio>[0]): Promise<LimitedOutcome> {
  const { ffmpegPath, format, path, out, workingDir, bounds, signal } = request
  try {
    return await runLimited({
      command: ffmpegPath,
      args: ffmpegArguments(format, path, out),
      limits: {
        cpuSeconds: bounds.decoderCpuSeconds,
        memoryBytes: bounds.decoderMemoryBytes,
        fileBytes: bounds.fileBytes,
      },
      workingDir,
      env: {},
      wallMs: bounds.audioWallMs,
      signal,
    })
  } catch (cause) {
    throw new AppError('UNEXPECTED', { cause })
  }
}

/**
 * The demuxer is named, so that a playlist or a video in disguise is never probed, and nothing but
 * this file is opened. `file:` keeps a path from being read as an option or a protocol.
 */
function ffmpegArguments(format: AudioFormat, path: string, out: string): string[] {
  const kept = `sample_fmts=s16:sample_rates=${keptSampleRates.join('|')}:channel_layouts=mono|stereo`
  return [
    ...['-nostdin', '-hide_banner', '-v', 'error', '-y'],
    ...['-threads', '1', '-filter_threads', '1'],
    ...['-protocol_whitelist', 'file,pipe', '-format_whitelist', 'wav,mp3'],
    ...['-codec_whitelist', allowedCodecs.join(',')],
    ...['-f', format, '-i', `file:${path}`],
    ...['-map', '0:a:0', '-vn', '-sn', '-dn', '-map_metadata', '-1', '-bitexact'],
    ...['-t', String(decodedSeconds), '-af', `aformat=${kept}`],
    ...['-c:a', 'pcm_s16le', '-f', 'wav', `file:${out}`],
  ]
}

function failureOf(outcome: LimitedOutcome): AppError {
  const cause = new Error(`ffmpeg: ${outcome.signal ?? outcome.exitCode}: ${outcome.complaint}`)
  if (outcome.aborted) return new AppError('DRAINING', { cause })
  if (outcome.timedOut || outcome.exitCode === null) {
    const message = 'The audio takes too long or too much memory to decode; export it again.'
    return new AppError('AUDIO_UNREADABLE', { cause, message })
  }
  if (fullDiskExits.has(outcome.exitCode)) return new AppError('STORAGE_FULL', { cause })
  return new AppError(ourExits.has(outcome.exitCode) ? 'UNEXPECTED' : 'AUDIO_UNREADABLE', { cause })
}
