import {
  inputKey,
  type JobRecord,
  type SubmissionOptions,
  spanAttributes,
  spanNames,
} from '@avatar/contracts'
import {
  AppError,
  describeSpan,
  type Foundation,
  logFailure,
  type ObjectStore,
  withSpan,
} from '@avatar/service-kit'
import type { RawMedia } from './input-media.ts'
import { makeSound } from './make-sound.ts'
import type { CheckedAudio } from './media/audio-check.ts'
import type { CheckedImage } from './media/image-check.ts'
import type { MediaChecks } from './media/media-checks.ts'

/** Raw media on disk, what is to be made of them, and what the stored inputs are named after. */
export type RawInputs = RawMedia & {
  jobId: string
  /** Random, one for each admission; part of the keys, see `inputKey`. */
  nonce: string
  options: SubmissionOptions
  /** A private folder for the normalised inputs. */
  folder: string
  /** Aborts when nobody waits for the outcome any more. */
  signal?: AbortSignal | undefined
}

type Stored<Checked> = Checked & { key: string }

/** Inputs that passed and are stored, as the record names them. */
export type TakenInputs = {
  image: Stored<CheckedImage>
  audio: Stored<Omit<CheckedAudio, 'path'>>
  voices?: NonNullable<JobRecord['voices']>
  source?: NonNullable<JobRecord['source']>
}

/** What the time for one input is enough for, however slow the store. */
const slowestBytes = 60 * 2 ** 20

export type InputTaker = ReturnType<typeof createInputTaker>

/**
 * Stores each input as soon as it has passed, while the other one may still be decoded, which halves
 * the time that a submission waits for the store. If the other one is refused, the stored one is
 * deleted before the caller gets the answer.
 */
export function createInputTaker(
  deps: Pick<Foundation, 'log' | 'timings'> & { media: MediaChecks; objects: ObjectStore },
) {
  const { media, objects, timings, log } = deps
  /** A video takes longer than the other inputs: at the least at 2 MB a second. */
  const inTime = (bytes = 0) =>
    AbortSignal.timeout(Math.ceil(timings.storeAtDoorMs * Math.max(1, bytes / slowestBytes)))

  const checkImage: MediaChecks['checkImage'] = (...input) =>
    withSpan(spanNames.checkImage, {}, () => media.checkImage(...input))

  const checkAudio: MediaChecks['checkAudio'] = (...input) =>
    withSpan(spanNames.checkAudio, {}, async () => {
      const checked = await media.checkAudio(...input)
      describeSpan({ [spanAttributes.audioSeconds]: checked.seconds })
      return checked
    })

  /** Deletes inputs that no record names. What cannot be deleted now is left for the janitor's sweep. */
  async function discard(keys: readonly string[]) {
    const deleted = await Promise.allSettled(keys.map((key) => objects.delete(key, inTime())))
    for (const one of deleted)
      if (one.status === 'rejected') logFailure(log, one.reason, 'input left for the sweep')
  }

  /**
   * Checks, normalises and stores all inputs. When it throws, nothing uses the folder any more and,
   * unless the store is unavailable, no object is left behind. It throws the signal's reason.
   */
  async function take(raw: RawInputs): Promise<TakenInputs> {
    const { jobId, nonce, folder, signal } = raw
    const stored = new Set<string>()
    async function store(file: Pick<CheckedAudio, 'path' | 'bytes' | 'sha256'>, extension: string) {
      signal?.throwIfAborted()
      const key = inputKey(jobId, nonce, file.sha256, extension)
      // Two recordings may be the same.
      if (stored.has(key)) return key
      stored.add(key)
      const { path, bytes, sha256 } = file
      await withSpan(
        extension === 'wav' ? spanNames.storeAudio : spanNames.storeImage,
        { [spanAttributes.bytes]: bytes },
        () => objects.putFile(key, path, bytes, sha256, inTime(bytes)),
        'client',
      )
      signal?.throwIfAborted()
      return key
    }

    async function takePicture(): Promise<Pick<TakenInputs, 'image' | 'source'>> {
      const { image, video } = raw
      if (!video) {
        if (!image) throw new AppError('IMAGE_MISSING')
        const checked = await checkImage(image.path, folder, signal)
        return { image: { ...checked, key: await store(checked, checked.extension) } }
      }
      const { firstFrame, path, bytes, sha256, seconds } = await media.checkVideo(
        ...([video.path, folder, signal] as const),
      )
      const first = await checkImage(firstFrame, folder, signal)
      const { width, height } = first
      const key = await store({ path, bytes, sha256 }, 'mp4')
      const source = { key, bytes, sha256, width, height, seconds }
      return { image: { ...first, key: await store(first, first.extension) }, source }
    }

    async function takeSound(source: Promise<Pick<TakenInputs, 'source'>>) {
      const sound = await makeSound({ media, checkAudio }, raw, async () => (await source).source)
      const { path, ...audio } = sound.audio
      const key = await store(sound.audio, 'wav')
      const voices: NonNullable<TakenInputs['voices']> = []
      for (const { startSeconds, ...file } of sound.voices ?? []) {
        const { bytes, sha256 } = file
        voices.push({ key: await store(file, 'wav'), bytes, sha256, startSeconds })
      }
      return { audio: { ...audio, key }, ...(voices.length > 0 ? { voices } : {}) }
    }

    // `Promise.all` would return at the first failure, and the folder be removed under the other check.
    const picture = takePicture()
    const [takenPicture, takenSound] = await Promise.allSettled([picture, takeSound(picture)])
    if (takenPicture.status === 'fulfilled' && takenSound.status === 'fulfilled')
      return { ...takenPicture.value, ...takenSound.value }

    const outcomes = [takenPicture, takenSound]
    const reasons = outcomes.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
    // A fault of a medium is reported even while the store is unavailable: a retry would not cure it.
    const fault = reasons.find((reason) => !isStoreUnavailable(reason))
    if (!reasons.some(isStoreUnavailable)) await discard([...stored])
    throw fault ?? reasons[0]
  }

  return { take, discard }
}

function isStoreUnavailable(reason: unknown): boolean {
  return reason instanceof AppError && reason.code === 'STORE_UNAVAILABLE'
}
