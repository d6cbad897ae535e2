import { rm, stat } from 'node:fs/promises'
import { limits, type Warning } from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'
import { claimedMp3Seconds, detectAudioFormat } from './audio-format.ts'
import {
  noAudio,
  refuseLayout,
  tooEmpty,
  tooLong,
  undecodableMp3,
  undecodableWav,
  untrueLength,
  wavBehindMp3,
} from './audio-refusals.ts'
import { type AudioFindings, audioWarnings } from './audio-warnings.ts'
import type { CheckBounds } from './check-bounds.ts'
import type { Checker } from './checker-pool.ts'
import {
  type AudioLocation,
  audioLocationSchema,
  mp3ReportSchema,
  type NormalisedWav,
  plainWavSchema,
  type WavReport,
  wavReportSchema,
} from './checker-protocol.ts'
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
  /** The file to write, and two temporary ones: of the repair and of the decoder. */
  out: string
  repaired: string
  decoded: string
  ffmpegPath: string
  workingDir: string
  bounds: CheckBounds
}

type FoundAudio = Exclude<AudioLocation, { kind: 'other' }>

/** How far a header may be off, by the larger of the two. Encoders count their padding differently. */
const claimTolerance = { seconds: 1, share: 0.05 }

const levels = { silentPeak: limits.audioSilentPeak, quietPeak: limits.audioQuietPeak }

/**
 * Checks an audio file by its content and normalises it. After an error, the caller removes what it
 * wrote.
 *
 * @throws AppError INVALID_AUDIO_FORMAT, AUDIO_UNREADABLE, AUDIO_EMPTY or AUDIO_TOO_LONG
 */
export async function checkAudioFile(checker: Checker, check: AudioCheck): Promise<CheckedAudio> {
  const { size } = await stat(check.path)
  if (size === 0) throw new AppError('AUDIO_UNREADABLE', { details: { bytes: size } })

  const found = await findAudio(checker, check)
  const { wav, findings } = await (found.kind === 'wav' ? fromWav : fromMp3)(checker, check, found)
  if (!wav) throw tooEmpty(undefined)
  const seconds = wav.samples / wav.sampleRate
  if (seconds > limits.audioMaxSeconds) throw tooLong(seconds)
  if (seconds < limits.audioMinSeconds || wav.soundSeconds < limits.audioMinSoundSeconds)
    throw tooEmpty({ ...wav, seconds })
  const { junkBytes } = found
  return {
    path: check.out,
    bytes: wav.bytes,
    sha256: wav.sha256,
    seconds,
    warnings: audioWarnings({ ...wav, ...findings, seconds, junkBytes }),
  }
}

async function findAudio(checker: Checker, { path, bounds }: AudioCheck): Promise<FoundAudio> {
  const kind = await detectAudioFormat(path)
  if (kind) return { kind, offset: 0, junkBytes: 0 }
  const asked = { op: 'locateAudio', path } as const
  const found = await checker.ask(asked, audioLocationSchema, bounds.audioWallMs)
  if (found.kind === 'other') throw noAudio(found)
  return found
}

/** `wav` is null when the file holds no sample. */
type Normalised = { wav: NormalisedWav | null; findings: AudioFindings }

async function fromWav(
  checker: Checker,
  check: AudioCheck,
  { offset }: FoundAudio,
): Promise<Normalised> {
  const { path, repaired, bounds } = check
  const plain =
    offset === 0 ? await normalisePcm(checker, check, path, limits.audioMaxSeconds) : null
  if (plain) return { wav: plain, findings: {} }
  try {
    const asked = { op: 'repairWav', path, offset, out: repaired } as const
    const report = await checker.ask(asked, wavReportSchema.nullable(), bounds.audioWallMs)
    if (report) refuseLayout(report)
    const source = report?.isWritten ? { path: repaired, offset: 0 } : { path, offset }
    const evenMix = report && hasUnknownLoudspeakers(report) ? report.channels : undefined
    const wav =
      (report?.isWritten
        ? await normalisePcm(checker, check, repaired, limits.audioMaxSeconds)
        : null) ??
      (await decode(checker, check, { format: 'wav', ...source, evenMix }).then(
        (decoded) => decoded.wav,
        (error) => {
          throw undecodableWav(error, report)
        },
      ))
    return { wav, findings: { ...report, evenMix } }
  } finally {
    await rm(repaired, { force: true })
  }
}

/** More channels than loudspeakers have names, or not as many as the file names. */
function hasUnknownLoudspeakers({ channels, channelMask }: WavReport): boolean {
  const named = channelMask.toString(2).replaceAll('0', '').length
  return channels > 8 || (channels > 2 && channelMask !== 0 && named !== channels)
}

async function fromMp3(
  checker: Checker,
  check: AudioCheck,
  { offset }: FoundAudio,
): Promise<Normalised> {
  const source = { format: 'mp3', path: check.path, offset } as const
  const { wav, hasComplained } = await decode(checker, check, source).catch((error) => {
    throw undecodableMp3(error)
  })
  const seconds = wav ? wav.samples / wav.sampleRate : 0
  // A longer one is refused for its length.
  if (!wav || seconds > limits.audioMaxSeconds) return { wav, findings: {} }
  return { wav, findings: await inspectMp3(checker, check, { offset, seconds, hasComplained }) }
}

async function decode(
  checker: Checker,
  check: AudioCheck,
  source: Pick<Parameters<typeof decodeAudio>[0], 'format' | 'path' | 'offset' | 'evenMix'>,
): Promise<{ wav: NormalisedWav | null; hasComplained: boolean }> {
  const { decoded } = check
  try {
    const request = { ...check, ...source, out: decoded, signal: checker.signal }
    const { hasComplained } = await decodeAudio(request)
    return { wav: await normalisePcm(checker, check, decoded, decodedSeconds), hasComplained }
  } finally {
    await rm(decoded, { force: true })
  }
}

/** Null for a file that is not plain. */
function normalisePcm(
  checker: Checker,
  { out, bounds }: AudioCheck,
  path: string,
  maxSeconds: number,
): Promise<NormalisedWav | null> {
  const asked = { op: 'normalisePcmWav', path, out, maxSeconds, levels } as const
  return checker.ask(asked, plainWavSchema, bounds.audioWallMs)
}

/**
 * Walks the frames of an MP3 file. A file that claims
 * another length than it holds was cut off or made to deceive: a video of either length would surprise
 * somebody. One that is glued together of parts that each claim the truth is rendered whole.
 */
async function inspectMp3(
  checker: Checker,
  { path, bounds }: AudioCheck,
  mp3: { offset: number; seconds: number; hasComplained: boolean },
): Promise<AudioFindings> {
  const { offset, seconds, hasComplained } = mp3
  const claimed = await claimedMp3Seconds(path, offset > 0 ? offset : undefined)
  const isTrue = claimed === undefined || isAbout(claimed, seconds)
  const asked = { op: 'measureMp3', path, offset } as const
  const { parts, lostSeconds, wavAt } = await checker.ask(
    asked,
    mp3ReportSchema,
    bounds.audioWallMs,
  )
  if (wavAt !== undefined) throw wavBehindMp3(wavAt)
  if (isTrue && !hasComplained) return {}
  const areTrue = parts.every(
    (part) => part.claimedSeconds === null || isAbout(part.claimedSeconds, part.seconds),
  )
  if (claimed !== undefined && !isTrue && !(parts.length > 1 && areTrue))
    throw untrueLength(claimed, seconds)
  return { parts: isTrue ? 1 : parts.length, lostSeconds }
}

function isAbout(claimed: number, seconds: number): boolean {
  const tolerance = Math.max(claimTolerance.seconds, claimTolerance.share * seconds)
  return Math.abs(claimed - seconds) <= tolerance
}
