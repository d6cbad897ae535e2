import { limits } from '@avatar/contracts'
import { AppError, asAppError } from '@avatar/service-kit'
import type { AudioLocation, NormalisedWav, WavReport } from './checker-protocol.ts'

type OtherFile = Extract<AudioLocation, { kind: 'other' }>

const allowedFormats = ['audio/wav', 'audio/mpeg']
/** Of ffmpeg's mixer. */
const maxChannels = 64
/** In hertz, what recordings have: from the poorest telephone to ultrasound. */
const rates = { lowest: 1_000, highest: 1_536_000 }
/** Floats may be integers of up to 32 bits that nobody divided. */
const largestInteger = 2 ** 32

/** How ffmpeg makes a file of one name into a WAV file. */
const conversion = (file: string, options = '') =>
  `ffmpeg -i ${file} ${options}${file === 'voice.wav' ? 'converted' : 'voice'}.wav`

const wavConversion = conversion('voice.wav', '-c:a pcm_s16le ')

const variants: Record<NonNullable<OtherFile['variant']>, { what: string; convert?: string }> = {
  'layer-1': { what: 'MPEG audio of layer I, not MP3', convert: conversion('voice.mp1') },
  'layer-2': { what: 'MPEG audio of layer II, not MP3', convert: conversion('voice.mp2') },
  'free-format': {
    what: 'an MP3 file of free format, which most players cannot decode',
    convert: 'mpg123 -w voice.wav voice.mp3',
  },
  rifx: { what: 'a WAV file of big-endian samples (RIFX)', convert: wavConversion },
  wave64: { what: 'a Sony Wave64 file', convert: conversion('voice.w64') },
  au: { what: 'a Sun or NeXT audio file (AU)', convert: conversion('voice.au') },
  'raw-pcm': {
    what: 'raw samples without a header. Put your coding (-f s16le, mulaw, alaw or f32le), rate (-ar) and channels (-ac) into this line',
    convert: 'ffmpeg -f s16le -ar 16000 -ac 1 -i voice.pcm voice.wav',
  },
  base64: { what: 'base64 text: decode it and send the bytes' },
  text: {
    what: 'text: look at it, it may be the error message of whatever should have sent sound',
  },
}

/** The refusal of a file in which no sound was found. */
export function noAudio({ found, extension, variant }: OtherFile): AppError {
  if (variant) {
    const { what, convert } = variants[variant]
    return invalidFormat(found, `The file is ${what}.`, convert)
  }
  // A tag or a frame, and no frames behind it.
  if (found === 'audio/mpeg') {
    const message =
      'The MP3 file holds no sound behind its first bytes; send it again, or export it again.'
    return new AppError('AUDIO_UNREADABLE', { message, details: { found } })
  }
  const [medium] = found.split('/')
  if (medium === 'image')
    return invalidFormat(found, `The audio is an image (${found}). Were the two files swapped?`)
  if (found === 'audio/midi') return invalidFormat(found, 'MIDI files hold notes and no voice.')
  if (medium === 'audio' || medium === 'video')
    return invalidFormat(found, `The file is ${found}.`, conversion(`voice.${extension}`, '-vn '))
  if (found !== 'unknown') return invalidFormat(found, `The file is ${found} and no sound.`)
  return invalidFormat(
    found,
    'The file is of no known format. If it holds raw samples, put their coding (-f mulaw, alaw, f32le or s16be), rate (-ar) and channels (-ac) into this line: ffmpeg -f mulaw -ar 8000 -ac 1 -i voice.raw voice.wav',
  )
}

function invalidFormat(found: string, what: string, convert?: string): AppError {
  const cure = convert === undefined ? '' : ` Convert it: ${convert}`
  const message = `Audio must be WAV or MP3. ${what}${cure}`
  const details = { found, allowed: allowedFormats, ...(convert ? { convert } : {}) }
  return new AppError('INVALID_AUDIO_FORMAT', { message, details })
}

/** @throws AppError for a WAV file that cannot be decoded, whoever tries */
export function refuseLayout(report: WavReport): void {
  const { channels, sampleRate, bits, blockBytes, differing } = report
  if (sampleRate < rates.lowest || sampleRate > rates.highest)
    throw unreadable(
      `The header of the WAV file names a sample rate of ${sampleRate}, which no recording has; export it again with the true rate.`,
    )
  if (channels === 0) throw unreadable('The header of the WAV file names no channels.')
  if (report.scale < 1 / largestInteger)
    throw unreadable(
      'The header of the WAV file names floating-point samples, and they go beyond every scale: they are probably integers. Write them under format tag 1, not 3.',
    )
  if (isPcm(report) && (bits === 0 || bits > 64))
    throw unreadable(
      `The header of the WAV file names samples of ${bits} bits; export it again with 16.`,
    )
  if (isPcm(report) && bits % 8 !== 0 && Math.ceil(bits / 8) * channels !== blockBytes)
    throw unreadable(
      `The header of the WAV file contradicts itself: samples of ${bits} bits on ${channels} channels are not ${blockBytes} bytes long.`,
    )
  if (channels > maxChannels) {
    throw unreadable(
      `The WAV file has ${channels} channels; mix them down to 2 where it was recorded.`,
    )
  }
  if (differing)
    throw unreadable(
      `The file holds ${differing.length} WAV files of different formats, one behind the other. Join them:`,
      joining(differing),
    )
}

function isPcm({ formatTag }: WavReport): boolean {
  return formatTag === 1 || formatTag === 3
}

/** It reads the same file once for each recording in it. */
function joining(offsets: readonly number[]): string {
  const inputs = offsets.map((at) => `-skip_initial_bytes ${at} -f wav -i voice.wav`)
  const pads = offsets.map((_, at) => `[${at}:a]`).join('')
  const filter = `${pads}concat=n=${offsets.length}:v=0:a=1`
  return `ffmpeg ${inputs.join(' ')} -filter_complex "${filter}" joined.wav`
}

/** What to tell instead when ffmpeg cannot decode a WAV file. */
export function undecodableWav(error: unknown, report: WavReport | null): AppError {
  const failure = asAppError(error)
  if (failure.code !== 'AUDIO_UNREADABLE') throw error
  if (!report) {
    return unreadable(
      'The WAV file has no complete header (format and samples). Send it again as binary, not as text, or export it again.',
      undefined,
      failure.cause,
    )
  }
  const tag = `0x${report.formatTag.toString(16).padStart(4, '0')}`
  const name = codecNames[report.formatTag]
  const codec = name ? `${name} (format ${tag})` : `format ${tag}`
  if (isPcm(report))
    return unreadable(
      `The WAV file holds ${codec} of ${report.bits} bits, which nothing here decodes; export it again with 16 bits.`,
      undefined,
      failure.cause,
    )
  return unreadable(
    `The WAV file holds ${codec}, which could not be decoded. Convert it to PCM:`,
    wavConversion,
    failure.cause,
  )
}

/** The same for an MP3 file. */
export function undecodableMp3(error: unknown): AppError {
  const failure = asAppError(error)
  if (failure.code !== 'AUDIO_UNREADABLE') throw error
  return unreadable(
    'The frames of the MP3 file hold no sound; export it again.',
    undefined,
    failure.cause,
  )
}

function unreadable(what: string, convert?: string, cause?: unknown): AppError {
  const message = convert === undefined ? what : `${what} ${convert}`
  return new AppError('AUDIO_UNREADABLE', { message, cause, details: convert ? { convert } : {} })
}

/** Registered numbers that turn up (RFC 2361, mmreg.h). */
const codecNames: Readonly<Record<number, string>> = {
  1: 'PCM',
  2: 'Microsoft ADPCM',
  3: 'floating-point PCM',
  6: 'A-law',
  7: 'µ-law',
  9: 'DTS',
  17: 'IMA ADPCM',
  20: 'G.723 ADPCM',
  34: 'TrueSpeech',
  49: 'GSM 6.10',
  64: 'G.721 ADPCM',
  66: 'G.723.1',
  69: 'G.726 ADPCM',
  80: 'MPEG audio of layer I or II',
  85: 'MP3',
  131: 'G.729',
  255: 'AAC',
  352: 'Windows Media Audio',
  353: 'Windows Media Audio',
  354: 'Windows Media Audio Professional',
  355: 'Windows Media Audio Lossless',
  5632: 'AAC',
  8192: 'AC-3',
  8193: 'DTS',
  26447: 'Vorbis',
  28751: 'Opus',
  61868: 'FLAC',
}

export function tooLong(seconds: number): AppError {
  const details = { seconds_at_least: round(seconds), max_seconds: limits.audioMaxSeconds }
  return new AppError('AUDIO_TOO_LONG', { details })
}

/** The refusal of an MP3 file that claims another length than it holds. */
export function untrueLength(claimed: number, seconds: number): AppError {
  const details = { header_seconds: round(claimed), decoded_seconds: round(seconds) }
  const lengths = `The MP3 header says ${round(claimed)} s, and the file holds ${round(seconds)} s.`
  const cure =
    claimed > seconds
      ? 'If the end is missing, send the whole file. If not, write it anew:'
      : 'To send all of it, write it anew:'
  const convert = conversion('voice.mp3')
  const message = `${lengths} ${cure} ${convert}`
  return new AppError('AUDIO_UNREADABLE', { message, details: { ...details, convert } })
}

/** The refusal of an MP3 file with a WAV file glued behind it, which no decoder would notice. */
export function wavBehindMp3(offset: number): AppError {
  return unreadable(
    'Behind the MP3 frames, the file holds a WAV file. Join the two:',
    `ffmpeg -f mp3 -i voice.mp3 -skip_initial_bytes ${offset} -f wav -i voice.mp3 -filter_complex "[0:a][1:a]concat=n=2:v=0:a=1" joined.wav`,
  )
}

/** The refusal of silence, or of a file without samples. */
export function tooEmpty(
  wav: (Pick<NormalisedWav, 'peak' | 'soundSeconds'> & { seconds: number }) | undefined,
): AppError {
  const { seconds = 0, peak = 0, soundSeconds = 0 } = wav ?? {}
  const details = {
    seconds: round(seconds),
    min_seconds: limits.audioMinSeconds,
    peak: round(peak),
    min_peak: limits.audioSilentPeak,
    sound_seconds: round(soundSeconds),
    min_sound_seconds: limits.audioMinSoundSeconds,
  }
  return new AppError('AUDIO_EMPTY', { message: emptiness(seconds, peak, soundSeconds), details })
}

function emptiness(seconds: number, peak: number, soundSeconds: number): string {
  if (seconds === 0) return 'The audio holds no samples; record it again.'
  if (seconds < limits.audioMinSeconds)
    return `The audio is ${round(seconds)} s long; send at least ${limits.audioMinSeconds} seconds.`
  if (peak === 0)
    return 'The audio is silent: every sample is the same. Look at the recording device.'
  const decibels = Math.round(-20 * Math.log10(peak))
  if (peak < limits.audioSilentPeak)
    return `The audio is as good as silent: its peak is ${decibels} dB below full scale. Record it louder, or raise it by ${decibels - 6} dB: ffmpeg -i voice.wav -af volume=${decibels - 6}dB louder.wav`
  return `The audio is silent except for ${round(soundSeconds)} s of sound, which is a click and no voice; record it again.`
}

function round(value: number): number {
  return Math.round(value * 1e5) / 1e5
}
