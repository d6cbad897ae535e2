import { createHash, randomBytes, randomInt } from 'node:crypto'
import {
  deliverySizeFor,
  type EventOf,
  eventId,
  framesPerSecond,
  inputKey,
  type JobRecord,
  jobKey,
  limits,
  subjects,
  type Timings,
  type Warning,
} from '@avatar/contracts'
import {
  AppError,
  type Bus,
  type Clock,
  type ObjectStore,
  type RecordStore,
} from '@avatar/service-kit'
import type { Board } from './board.ts'
import type { MediaChecks } from './media/media-checks.ts'
import type { Workers } from './workers.ts'

/** One submission through either door: raw inputs on disk, and who sent it. */
export type Submission = {
  jobId: string
  owner: string
  door: JobRecord['door']
  imagePath: string
  imageSha256: string
  audioPath: string
  audioSha256: string
  prompt: string
  seed: number | undefined
  reference?: string | undefined
  traceparent: string
  /** A private folder for the normalised inputs. */
  folder: string
}

export type Admitted = { job: JobRecord; isNew: boolean; warnings: readonly Warning[] }

/** Admits submissions; one for both doors, so that media are checked in one place. */
export type Admission = (submission: Submission) => Promise<Admitted>

/**
 * Checks, normalises and stores the inputs, creates the record, announces it. The job exists from
 * the record on. The same request again finds its record and gets the same job; another request
 * under the same id is refused.
 */
export function createAdmission(deps: {
  bus: Bus
  records: RecordStore<JobRecord>
  objects: ObjectStore
  media: MediaChecks
  board: Board
  workers: Workers
  clock: Clock
  timings: Timings
  minDeadlineSeconds: number
}): Admission {
  const { bus, records, objects, media, board, workers, clock, timings } = deps

  return async (submission) => {
    const beganMs = clock.monotonicMs()
    const key = jobKey(submission.owner, submission.jobId)
    const fingerprint = fingerprintOf(submission)
    const earlier = await records.find(key)
    if (earlier) return replay(earlier.value, fingerprint)

    const nonce = randomBytes(8).toString('hex')
    const prepared = await prepare(submission, fingerprint, nonce)
    const { job, files } = prepared
    const inTime = AbortSignal.timeout(Math.ceil(timings.storeAtDoorMs))
    await allDone(files.map((f) => objects.putFile(f.key, f.path, f.bytes, f.sha256, inTime)))
    if (clock.monotonicMs() - beganMs > timings.admissionMs)
      throw new AppError('STORE_UNAVAILABLE', { details: { reason: 'the upload took too long' } })

    // Without an answer nothing is deleted: the record may name these inputs. The sweep sees to them.
    if ((await records.create(key, job)) === 'exists') {
      const winner = await records.find(key)
      if (winner?.value.nonce !== nonce) {
        await Promise.all(files.map((f) => objects.delete(f.key)))
        if (!winner) throw new AppError('BROKER_UNAVAILABLE')
        return replay(winner.value, fingerprint)
      }
    }
    board.note(job)
    await announce(job)
    return { job, isNew: true, warnings: prepared.warnings }
  }

  /** Announced again while it is pending: the first announcement may have been lost. */
  async function replay(job: JobRecord, fingerprint: string): Promise<Admitted> {
    if (job.fingerprint !== fingerprint) throw new AppError('IDEMPOTENCY_KEY_REUSED')
    if (job.state === 'pending') await announce(job)
    return { job, isNew: false, warnings: [] }
  }

  async function prepare(submission: Submission, fingerprint: string, nonce: string) {
    const { jobId, folder } = submission
    const checkImage = media.checkImage(submission.imagePath, folder)
    const checkAudio = media.checkAudio(submission.audioPath, folder)
    await allDone([checkImage, checkAudio])
    const image = await checkImage
    const audio = await checkAudio
    const imageKey = inputKey(jobId, nonce, image.sha256, image.extension)
    const audioKey = inputKey(jobId, nonce, audio.sha256, 'wav')
    const estimatedSeconds = audio.seconds * workers.secondsPerVideoSecond()
    const job: JobRecord = {
      jobId,
      owner: submission.owner,
      door: submission.door,
      fingerprint,
      nonce,
      state: 'pending',
      epoch: 0,
      image: {
        key: imageKey,
        bytes: image.bytes,
        sha256: image.sha256,
        width: image.width,
        height: image.height,
      },
      audio: { key: audioKey, bytes: audio.bytes, sha256: audio.sha256, seconds: audio.seconds },
      prompt: submission.prompt,
      seed: submission.seed ?? randomInt(limits.seedMax),
      frames: Math.max(1, Math.round(framesPerSecond * audio.seconds)),
      delivery: deliverySizeFor(image),
      ...(submission.reference === undefined ? {} : { reference: submission.reference }),
      traceparent: submission.traceparent,
      createdAtMs: clock.nowMs(),
      estimatedSeconds,
      deadlineSeconds: Math.max(deps.minDeadlineSeconds, estimatedSeconds * 1.5),
      failures: 0,
      deaths: 0,
      losses: 0,
    }
    const files = [
      { ...image, key: imageKey },
      { ...audio, key: audioKey },
    ]
    return { job, files, warnings: audio.warnings }
  }

  async function announce(job: JobRecord) {
    const event: EventOf<'job.submitted'> = {
      type: 'job.submitted',
      jobId: job.jobId,
      owner: job.owner,
      epoch: 0,
      revision: 0,
      atMs: job.createdAtMs,
    }
    await bus.publish(subjects.event(event.type, job.jobId), event, {
      messageId: eventId(event),
      traceparent: job.traceparent,
      timeoutMs: timings.publishAtDoorMs,
    })
  }
}

/**
 * Waits for all, then throws the first failure. With `Promise.all` the folder would be removed while
 * one of them still works in it.
 */
async function allDone(work: readonly Promise<unknown>[]): Promise<void> {
  for (const done of await Promise.allSettled(work))
    if (done.status === 'rejected') throw done.reason
}

/** Over what the client sent, so that a repeated request is known before anything is decoded. */
function fingerprintOf(submission: Submission): string {
  const { imageSha256, audioSha256, prompt, seed, reference } = submission
  const parts = [imageSha256, audioSha256, prompt, seed ?? null, reference ?? null]
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex')
}
