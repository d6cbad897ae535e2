import { limits, type Warning } from '@avatar/contracts'
import type { NormalisedWav, WavReport } from './checker-protocol.ts'

/** What was found on the way, beside what was measured. Absent means none. */
export type AudioFindings = Partial<
  Pick<WavReport, 'parts' | 'missingSeconds' | 'straySeconds' | 'badSamples' | 'scale'>
> & {
  /** Bytes in front of the sound that are neither tag nor padding. */
  readonly junkBytes?: number
  /** About how much sound the damage in an MP3 file has cost. */
  readonly lostSeconds?: number
  /** How many channels were mixed evenly. */
  readonly evenMix?: number | undefined
}

type Measured = Pick<NormalisedWav, 'peak' | 'soundSeconds' | 'audibleSeconds' | 'cancelledSeconds'>

/** Less than this is an encoder's padding. */
const negligibleSeconds = 0.1

/** In the order in which the sound was made: what was in the file, then what it sounds like. */
export function audioWarnings(
  audio: Measured & AudioFindings & { readonly seconds: number },
): Warning[] {
  const { parts = 1, missingSeconds = 0, straySeconds = 0, badSamples = 0, scale = 1 } = audio
  const {
    junkBytes = 0,
    lostSeconds = 0,
    evenMix,
    seconds,
    soundSeconds,
    audibleSeconds,
    cancelledSeconds,
  } = audio
  const length = `The video is ${round(seconds)} s long`
  const found: [boolean, string, string][] = [
    [
      junkBytes > 0,
      'AUDIO_JUNK_SKIPPED',
      `${junkBytes} bytes that are no sound stand in front of it and were skipped. If they do not belong there, look at what writes the file.`,
    ],
    [
      parts > 1,
      'AUDIO_JOINED',
      `The file holds ${parts} recordings, one behind the other; all of them were joined. ${length}. If you meant to send only one, send it alone.`,
    ],
    [
      lostSeconds > negligibleSeconds,
      'AUDIO_DAMAGED',
      `In the middle of the file, about ${round(lostSeconds)} s are damaged; they are missing from the video. Send the file again, or export it again.`,
    ],
    [
      missingSeconds > negligibleSeconds,
      'AUDIO_TRUNCATED',
      `The header promises ${round(missingSeconds)} s more than the file holds. ${length}. If the end is missing, send the whole file.`,
    ],
    [
      straySeconds > negligibleSeconds,
      'AUDIO_LONGER_THAN_HEADER',
      `Behind the end that the header names, the file goes on for ${round(straySeconds)} s, which were left out as players do. ${length}. If they are sound, export the file again.`,
    ],
    [
      badSamples > 0,
      'AUDIO_SAMPLES_REPAIRED',
      `Samples that are no numbers, or far beyond the others, became silence: ${badSamples} of them. Look at what writes them.`,
    ],
    [
      scale !== 1,
      'AUDIO_SCALED',
      `The floating-point samples go up to ${Math.round(1 / scale)} instead of 1; they were scaled down to it. Divide them by that before you send them.`,
    ],
    [
      evenMix !== undefined,
      'AUDIO_MIXED_DOWN',
      `The ${evenMix} channels are for no known loudspeakers and were mixed evenly into one. If one of them carries the voice, send that one alone.`,
    ],
    [
      audibleSeconds < limits.audioMinSoundSeconds,
      'AUDIO_QUIET',
      `The voice is very quiet: ${quietness(audio)}. The lips follow it as if it were loud, but noise may move them too, and the video is as quiet. Record it louder.`,
    ],
    [
      cancelledSeconds > 0.25 * soundSeconds,
      'AUDIO_CHANNELS_CANCEL',
      'The two channels cancel each other: over one loudspeaker, as in most phones, the video is silent or thin. The lips follow the stronger channel. Invert one channel, or send a mono recording.',
    ],
    [
      seconds < limits.audioShortSeconds,
      'AUDIO_SHORT',
      `The audio is ${round(seconds)} s long; under ${limits.audioShortSeconds} s a face hardly starts to move.`,
    ],
  ]
  return found.flatMap(([isSo, code, message]) => (isSo ? [{ code, message }] : []))
}

/** A click may be louder than the voice. */
function quietness({ peak }: Measured): string {
  return peak < limits.audioQuietPeak
    ? `its peak is ${decibels(peak)} dB below full scale`
    : `except for clicks, its peak is more than ${decibels(limits.audioQuietPeak)} dB below full scale`
}

function decibels(peak: number): number {
  return Math.round(-20 * Math.log10(peak))
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}
