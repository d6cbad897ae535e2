import { inputKey, type Timings } from '@avatar/contracts'
import { AppError, type Log, logFailure, type ObjectStore } from '@avatar/service-kit'
import type { CheckedAudio } from './media/audio-check.ts'
import type { CheckedImage } from './media/image-check.ts'
import type { MediaChecks } from './media/media-checks.ts'

/** Raw media on disk, and what the stored inputs are named after. */
export type RawInputs = {
  jobId: string
  /** Random, one for each admission; part of the keys, see `inputKey`. */
  nonce: string
  imagePath: string
  audioPath: string
  /** A private folder for the normalised inputs. */
  folder: string
}

/** Inputs that passed and are stored. */
export type TakenInputs = {
  image: CheckedImage & { key: string }
  audio: CheckedAudio & { key: string }
}

export type InputTaker = {
  /**
   * Checks, normalises and stores both inputs. When it throws, nothing uses the folder any more and,
   * unless the store is unavailable, no object is left behind.
   */
  take(inputs: RawInputs): Promise<TakenInputs>
  /** Deletes inputs that no record names. What cannot be deleted now is left for the janitor's sweep. */
  discard(keys: readonly string[]): Promise<void>
}

/**
 * Stores each input as soon as it has passed, while the other one may still be decoded, which halves
 * the time that a submission waits for the store. If the other one is refused, the stored one is
 * deleted before the caller gets the answer.
 */
export function createInputTaker(deps: {
  media: MediaChecks
  objects: ObjectStore
  timings: Timings
  log: Log
}): InputTaker {
  const { media, objects, timings, log } = deps
  const inTime = () => AbortSignal.timeout(Math.ceil(timings.storeAtDoorMs))

  async function discard(keys: readonly string[]) {
    const deleted = await Promise.allSettled(keys.map((key) => objects.delete(key, inTime())))
    for (const one of deleted)
      if (one.status === 'rejected') logFailure(log, one.reason, 'input left for the sweep')
  }

  async function take({ jobId, nonce, imagePath, audioPath, folder }: RawInputs) {
    const stored: string[] = []
    async function store<Checked extends CheckedImage | CheckedAudio>(check: Promise<Checked>) {
      const checked = await check
      const extension = 'extension' in checked ? checked.extension : 'wav'
      const key = inputKey(jobId, nonce, checked.sha256, extension)
      await objects.putFile(key, checked.path, checked.bytes, checked.sha256, inTime())
      stored.push(key)
      return { ...checked, key }
    }

    // `Promise.all` would return at the first failure, and the folder be removed under the other check.
    const [image, audio] = await Promise.allSettled([
      store(media.checkImage(imagePath, folder)),
      store(media.checkAudio(audioPath, folder)),
    ])
    if (image.status === 'fulfilled' && audio.status === 'fulfilled')
      return { image: image.value, audio: audio.value }

    const reasons = [image, audio].flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
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
