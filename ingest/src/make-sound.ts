import { limits, type SubmissionOptions } from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'
import { fieldRefused } from './field-refused.ts'
import type { RawMedia } from './input-media.ts'
import type { CheckedAudio } from './media/audio-check.ts'
import type { ComposedAudio, MediaChecks } from './media/media-checks.ts'

/** A recording that drives one mouth, and when it begins. */
type Voice = Omit<ComposedAudio, 'seconds'> & { startSeconds: number }

/** The delivered sound, and the voices where the lips follow anything but that from its start. */
export type Sound = { audio: CheckedAudio; voices?: Voice[] }

/**
 * Makes the delivered sound of what was sent: two recordings together or one after the other, silence
 * before and after, the length that a source video asks for. A submission with nothing of it is taken as
 * it is.
 *
 * @throws AppError for whatever is wrong with a recording, AUDIO_TOO_LONG for all of them together
 */
export async function makeSound(
  deps: {
    media: Pick<MediaChecks, 'compose' | 'gate'>
    checkAudio: MediaChecks['checkAudio']
  },
  sent: RawMedia & {
    options: SubmissionOptions
    folder: string
    signal?: AbortSignal | undefined
  },
  source: () => Promise<{ seconds: number } | undefined>,
): Promise<Sound> {
  const { media, checkAudio } = deps
  const { options, folder, signal } = sent
  const check = (medium: { path: string } | undefined) =>
    medium ? checkAudio(medium.path, folder, signal) : Promise.resolve(undefined)
  // The folder must not be removed under one of them.
  const checks = await Promise.allSettled([sent.audio, sent.audio2, sent.voice].map(check))
  const [audio, audio2, voice] = checks.map((one) => {
    if (one.status === 'rejected') throw one.reason
    return one.value
  })
  if (!audio) throw new AppError('AUDIO_MISSING')
  requireTogether(audio, audio2, voice)

  const lead = options.lead_seconds ?? 0
  const isInTurn = audio2 !== undefined && options.speaking === 'in_turn'
  const second = audio2 && { ...audio2, startSeconds: lead + (isInTurn ? audio.seconds : 0) }
  const first = { ...audio, startSeconds: lead }
  const pieces = second ? [first, second] : [first]
  const ends = pieces.map(({ startSeconds, seconds }) => startSeconds + seconds)
  const whole = Math.max(...ends) + (options.tail_seconds ?? 0)
  const length = options.video_length ?? 'audio'
  const videoSeconds = length === 'audio' ? whole : ((await source())?.seconds ?? whole)
  const seconds = length === 'video' ? videoSeconds : Math.min(whole, videoSeconds)
  if (seconds > limits.audioMaxSeconds) throw tooLong(seconds)
  if (seconds < limits.audioMinSeconds) throw new AppError('AUDIO_EMPTY', { details: { seconds } })

  const warnings = [audio, audio2, voice].flatMap((one) => [...(one?.warnings ?? [])])
  const isAsSent = pieces.length === 1 && lead === 0 && seconds === audio.seconds
  const composed = isAsSent ? audio : await media.compose(pieces, seconds, folder)
  const delivered = { ...composed, warnings }
  if (second) return { audio: delivered, voices: [first, second] }
  if (options.turns) {
    const { turns } = options
    const late = turns.find(({ start }) => start >= audio.seconds)
    if (late)
      throw fieldRefused('turns', `one starts at ${late.start} s, after the recording's end`)
    const of = (speaker: number) => turns.filter((turn) => turn.speaker === speaker)
    const voices: Voice[] = []
    for (const speaker of [0, 1])
      voices.push({
        ...(await media.gate(audio.path, of(speaker), `speaker-${speaker}`)),
        startSeconds: lead,
      })
    return { audio: delivered, voices }
  }
  if (voice) return { audio: delivered, voices: [{ ...voice, startSeconds: lead }] }
  return isAsSent ? { audio: delivered } : { audio: delivered, voices: [first] }
}

function requireTogether(
  audio: CheckedAudio,
  audio2: CheckedAudio | undefined,
  voice: CheckedAudio | undefined,
): void {
  const together = audio.seconds + (audio2?.seconds ?? 0)
  if (together > limits.audioMaxSeconds) throw tooLong(together)
  const most = limits.voiceDifferenceMaxSeconds
  if (voice && Math.abs(voice.seconds - audio.seconds) > most)
    throw fieldRefused('voice', `must be as long as audio, to within ${most} s`, {
      found: `${voice.seconds.toFixed(2)} s beside ${audio.seconds.toFixed(2)} s`,
    })
}

function tooLong(seconds: number): AppError {
  const details = { seconds, max_seconds: limits.audioMaxSeconds }
  return new AppError('AUDIO_TOO_LONG', { details })
}
