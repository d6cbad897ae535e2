import { rm, stat } from 'node:fs/promises'
import { limits, type Warning } from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'
import { type AudioFormat, claimedMp3Seconds, detectAudioFormat } from './audio-format.ts'
import type { CheckBounds } from './check-bounds.ts'
import type { Checker } from './checker-pool.ts'
import { detectedFormatSchema, type NormalisedWav, plainWavSchema } from './checker-protocol.ts'
import { decodeAudio, decodedSeconds } from './decode-audio.ts'

/** An audio file that passed. */
export type CheckedAudio = Pick<NormalisedWav, 'bytes' | 'sha256'> & {
  /** The normalised WAV file: 16-bit PCM, at most 48 kHz and two channels. */
  readonly path: string
  /** The length of the decoded samples, whatever the headers claim. */
  readonly seconds: number
  readonly warnings: readonly Warning[]
}

type AudioCheck = {
  path: string
  /** The file to write, and the decoder's temporary one. */
  out: string
  decoded: string
  ffmpegPath: string
  workingDir: string
  bounds: CheckBounds
}

/** How far a header may be off, by the larger of the two. Encoders count their padding differently. */
const claimTolerance = { seconds: 1, share: 0.05 }

const allowedFormats = ['audio/wav', 'audio/mpeg']

/**
 * Checks an audio file by its content and normalises it. After an error, the caller removes what it
 * wrote.
 *
 * @throws AppError INVALID_AUDIO_FORMAT, AUDIO_UNREADABLE, AUDIO_EMPTY or AUDIO_TOO_LONG
 */
export async function checkAudioFile(checker: Checker, check: AudioCheck): Promise<CheckedAudio> {
  const { size } = await stat(check.path)
  if (size === 0) throw new AppError('AUDIO_UNREADABLE', { details: { bytes: size } })

  const format = await detectAudioFormat(check.path)
  if (!format) throw await invalidFormat(checker, check)
  const wav = await normalise(checker, check, format)
  if (!wav) throw tooEmpty(0, 0)
  const seconds = wav.samples / wav.sampleRate
  if (seconds > limits.audioMaxSeconds) throw tooLong(seconds)
  if (seconds < limits.audioMinSeconds || wav.peak < limits.audioSilentPeak) {
    throw tooEmpty(seconds, wav.peak)
  }
  if (format === 'mp3') await requireTrueClaim(check.path, seconds)
  return {
    path: check.out,
    bytes: wav.bytes,
    sha256: wav.sha256,
    seconds,
    warnings: seconds < limits.audioShortSeconds ? [shortWarning(seconds)] : [],
  }
}

/** Null when the file holds no sample. */
async function normalise(
  checker: Checker,
  check: AudioCheck,
  format: AudioFormat,
): Promise<NormalisedWav | null> {
  const { out, decoded, bounds } = check
  const normalisePcm = (path: string, maxSeconds: number) =>
    checker.ask(
      { op: 'normalisePcmWav', path, out, maxSeconds },
      plainWavSchema,
      bounds.audioWallMs,
    )
  if (format === 'wav') {
    const wav = await normalisePcm(check.path, limits.audioMaxSeconds)
    if (wav) return wav
  }
  try {
    await decodeAudio({ ...check, format, out: decoded, signal: checker.signal })
    return await normalisePcm(decoded, decodedSeconds)
  } finally {
    await rm(decoded, { force: true })
  }
}

async function invalidFormat(checker: Checker, { path, bounds }: AudioCheck): Promise<AppError> {
  const asked = { op: 'detectFormat', path } as const
  const found = await checker.ask(asked, detectedFormatSchema, bounds.audioWallMs)
  // An MP3 tag without a frame behind it.
  if (found === 'audio/mpeg') return new AppError('AUDIO_UNREADABLE')
  return new AppError('INVALID_AUDIO_FORMAT', {
    details: { found: found ?? 'unknown', allowed: allowedFormats },
  })
}

/**
 * A file that claims another length than it holds was cut off, glued together or made to deceive. A
 * video of either length would surprise somebody.
 */
async function requireTrueClaim(path: string, seconds: number): Promise<void> {
  const claimed = await claimedMp3Seconds(path)
  if (claimed === undefined) return
  const off = Math.abs(claimed - seconds)
  if (off <= Math.max(claimTolerance.seconds, claimTolerance.share * seconds)) return
  const message = 'The audio is longer or shorter than its MP3 header says; export it again.'
  const details = { header_seconds: round(claimed), decoded_seconds: round(seconds) }
  throw new AppError('AUDIO_UNREADABLE', { message, details })
}

function tooLong(seconds: number): AppError {
  const details = { seconds_at_least: round(seconds), max_seconds: limits.audioMaxSeconds }
  return new AppError('AUDIO_TOO_LONG', { details })
}

function tooEmpty(seconds: number, peak: number): AppError {
  return new AppError('AUDIO_EMPTY', {
    details: {
      seconds: round(seconds),
      min_seconds: limits.audioMinSeconds,
      peak: round(peak),
      min_peak: limits.audioSilentPeak,
    },
  })
}

function shortWarning(seconds: number): Warning {
  return {
    code: 'AUDIO_SHORT',
    message: `The audio is ${round(seconds)} s long; under ${limits.audioShortSeconds} s a face hardly starts to move.`,
  }
}

function round(value: number): number {
  return Math.round(value * 1e5) / 1e5
}
