import { inputKey, spanAttributes, spanNames } from '@avatar/contracts'
import {
  AppError,
  describeSpan,
  type Foundation,
  logFailure,
  type ObjectStore,
  withSpan,
} from '@avatar/service-kit'
import type { InputMedium, RawMedium } from './input-media.ts'
import type { CheckedAudio } from './media/audio-check.ts'
import type { CheckedImage } from './media/image-check.ts'
import type { MediaChecks } from './media/media-checks.ts'

/** Raw media on disk, and what the stored inputs are named after. */
export type RawInputs = {
  jobId: string
  /** Random, one for each admission; part of the keys, see `inputKey`. */
  nonce: string
  image: RawMedium
  audio: RawMedium
  /** A private folder for the normalised inputs. */
  folder: string
  /** Aborts when nobody waits for the outcome any more. */
  signal?: AbortSignal | undefined
}

/** Inputs that passed and are stored. */
export type TakenInputs = {
  image: CheckedImage & { key: string }
  audio: CheckedAudio & { key: string }
}

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
  const inTime = () => AbortSignal.timeout(Math.ceil(timings.storeAtDoorMs))

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
   * Checks, normalises and stores both inputs. When it throws, nothing uses the folder any more and,
   * unless the store is unavailable, no object is left behind. It throws the signal's reason.
   */
  async function take(raw: RawInputs): Promise<TakenInputs> {
    const { jobId, nonce, image, audio, folder, signal } = raw
    const stored: string[] = []
    async function store<Checked extends CheckedImage | CheckedAudio>(
      medium: InputMedium,
      check: Promise<Checked>,
    ) {
      const checked = await check
      signal?.throwIfAborted()
      const extension = 'extension' in checked ? checked.extension : 'wav'
      const key = inputKey(jobId, nonce, checked.sha256, extension)
      const { path, bytes, sha256 } = checked
      await withSpan(
        medium === 'image' ? spanNames.storeImage : spanNames.storeAudio,
        { [spanAttributes.bytes]: bytes },
        () => objects.putFile(key, path, bytes, sha256, inTime()),
        'client',
      )
      stored.push(key)
      signal?.throwIfAborted()
      return { ...checked, key }
    }

    // `Promise.all` would return at the first failure, and the folder be removed under the other check.
    const [checkedImage, checkedAudio] = await Promise.allSettled([
      store('image', checkImage(image.path, folder, signal)),
      store('audio', checkAudio(audio.path, folder, signal)),
    ])
    if (checkedImage.status === 'fulfilled' && checkedAudio.status === 'fulfilled')
      return { image: checkedImage.value, audio: checkedAudio.value }

    const outcomes = [checkedImage, checkedAudio]
    const reasons = outcomes.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
    // A fault of a medium is reported even while the store is unavailable: a retry would not cure it.
    const fault = reasons.find((reason) => !isStoreUnavailable(reason))
    if (!reasons.some(isStoreUnavailable)) await discard(stored)
    throw fault ?? reasons[0]
  }

  return { take, discard }
}

function isStoreUnavailable(reason: unknown): boolean {
  return reason instanceof AppError && reason.code === 'STORE_UNAVAILABLE'
}
