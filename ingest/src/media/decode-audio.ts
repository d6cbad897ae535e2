import { constants } from 'node:os'
import { type FailureCode, limits } from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'
import type { AudioFormat } from './audio-format.ts'
import type { CheckBounds } from './check-bounds.ts'
import { MediumTooCostly } from './checker-pool.ts'
import { keptSampleRates } from './pcm-wav.ts'
import { type LimitedOutcome, runLimited } from './run-limited.ts'

/** A little more than is allowed, so that a recording that is too long is seen to be. */
export const decodedSeconds = limits.audioMaxSeconds + 0.5

/** The codecs that WAV and MP3 files hold in practice. A WAV file could name any codec of ffmpeg. */
const allowedCodecs = [
  ...['pcm_u8', 'pcm_s16le', 'pcm_s24le', 'pcm_s32le', 'pcm_s64le', 'pcm_f32le', 'pcm_f64le'],
  ...['pcm_alaw', 'pcm_mulaw', 'adpcm_ms', 'adpcm_ima_wav', 'mp3', 'mp3float'],
  // What telephones and voice recorders write.
  ...['g722', 'g726', 'adpcm_yamaha', 'gsm_ms'],
]

const { errno } = constants

/** ffmpeg exits with the low byte of a negative errno. These are our disk's fault, or our descriptors'. */
const fullDiskExits = new Set([errno.ENOSPC, errno.EDQUOT].map(lowByteOfNegative))
const ourExits = new Set([
  ...[errno.ENOENT, errno.EACCES, errno.EROFS, errno.EMFILE, errno.ENFILE].map(lowByteOfNegative),
  // From the shell: the program cannot be executed, or does not exist.
  126,
  127,
])

function lowByteOfNegative(number: number): number {
  return -number & 0xff
}

/**
 * Decodes the first `decodedSeconds` of a WAV or MP3 file to 16-bit PCM in a WAV file. It keeps the
 * sample rate and the channels, up to 48 kHz and two channels. A complaint means that something in the
 * file could not be decoded and was skipped.
 *
 * @throws AppError AUDIO_UNREADABLE; STORAGE_FULL; UNEXPECTED without ffmpeg; DRAINING when aborted
 * @throws MediumTooCostly when ffmpeg passes its limits
 */
export async function decodeAudio(request: {
  ffmpegPath: string
  format: AudioFormat
  path: string
  /** Where the sound begins: behind what stands in front of it. */
  offset: number
  /** How many channels to mix evenly, when nobody knows which loudspeakers they are for. */
  evenMix?: number | undefined
  out: string
  workingDir: string
  bounds: CheckBounds
  signal: AbortSignal
}): Promise<{ hasComplained: boolean }> {
  const run = () => runFfmpeg(request)
  let outcome = await run()
  const killedByOthers = outcome.signal === 'SIGKILL' && !outcome.timedOut && !outcome.aborted
  if (killedByOthers) outcome = await run()
  if (outcome.exitCode !== 0 || outcome.aborted) throw failureOf(outcome)
  return { hasComplained: outcome.complaint !== '' }
}

async function runFfmpeg(request: Parameters<typeof decodeAudio>[0]): Promise<LimitedOutcome> {
  const { ffmpegPath, workingDir, bounds, signal } = request
  const running = runLimited({
    command: ffmpegPath,
    args: ffmpegArguments(request),
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
  return running.catch((cause) => {
    throw new AppError('UNEXPECTED', { cause })
  })
}

/**
 * Naming the demuxer keeps ffmpeg from probing a playlist or a video in disguise, and from opening any
 * other file. `file:` keeps it from taking a path for an option or a protocol.
 */
function ffmpegArguments(request: Parameters<typeof decodeAudio>[0]): string[] {
  const { format, path, offset, evenMix = 0, out } = request
  const channels = Array.from({ length: evenMix }, (_, at) => `c${at}`).join('+')
  const mix = evenMix > 0 ? `pan=mono|c0<${channels},` : ''
  const kept = `sample_fmts=s16:sample_rates=${keptSampleRates.join('|')}:channel_layouts=mono|stereo`
  return [
    ...['-nostdin', '-hide_banner', '-v', 'error', '-y'],
    ...['-threads', '1', '-filter_threads', '1'],
    ...['-protocol_whitelist', 'file,pipe', '-format_whitelist', 'wav,mp3'],
    ...['-codec_whitelist', allowedCodecs.join(',')],
    ...['-skip_initial_bytes', String(offset), '-f', format, '-i', `file:${path}`],
    ...['-map', '0:a:0', '-vn', '-sn', '-dn', '-map_metadata', '-1', '-bitexact'],
    ...['-t', String(decodedSeconds), '-af', `${mix}aformat=${kept}`],
    // Whatever the channel of low tones holds, it is not lost when channels are mixed.
    ...['-lfe_mix_level', '0.707'],
    ...['-c:a', 'pcm_s16le', '-f', 'wav', `file:${out}`],
  ]
}

/** What the end of an ffmpeg means that did not go well. */
export function failureOf(
  outcome: LimitedOutcome,
  unreadable: FailureCode = 'AUDIO_UNREADABLE',
): Error {
  const cause = new Error(`ffmpeg: ${outcome.signal ?? outcome.exitCode}: ${outcome.complaint}`)
  if (outcome.aborted) return new AppError('DRAINING', { cause })
  if (outcome.timedOut || outcome.exitCode === null) return new MediumTooCostly(cause.message)
  if (fullDiskExits.has(outcome.exitCode)) return new AppError('STORAGE_FULL', { cause })
  return new AppError(ourExits.has(outcome.exitCode) ? 'UNEXPECTED' : unreadable, { cause })
}
