import { createHash, randomBytes, randomInt } from 'node:crypto'
import {
  deadlineSecondsFor,
  deliverySizeFor,
  framesPerSecond,
  type JobRecord,
  jobKey,
  limits,
  type Warning,
} from '@avatar/contracts'
import { factOf, type JobRecords, plainEvent, publishEvent } from '@avatar/job-kit'
import { AppError, type Foundation } from '@avatar/service-kit'
import type { Board } from './board.ts'
import type { IngestConfig } from './config.ts'
import { blocksAdmission, type FullStreams } from './full-streams.ts'
import type { RawMedium } from './input-media.ts'
import type { InputTaker, TakenInputs } from './take-inputs.ts'
import type { Workers } from './workers.ts'

/** One submission through either door: the raw inputs on disk, and who sent them. */
export type Submission = {
  jobId: string
  owner: string
  door: JobRecord['door']
  image: RawMedium
  audio: RawMedium
  prompt: string
  seed?: number | undefined
  reference?: string | undefined
  traceparent: string
  /** A private folder for the normalised inputs. */
  folder: string
}

export type Admitted = { job: JobRecord; isNew: boolean; warnings: readonly Warning[] }

/** Turns a submission into a job. Both doors use it, so that media are checked in one place. */
export type Admission = (submission: Submission) => Promise<Admitted>

/**
 * Checks, normalises and stores the inputs, creates the record and announces it. The job exists as
 * soon as its record does. A repeated request finds the record and gets the same job.
 *
 * @throws AppError IDEMPOTENCY_KEY_REUSED for another request under the same id; BROKER_UNAVAILABLE,
 * STORE_UNAVAILABLE; whatever the media checks throw
 */
export function createAdmission(
  deps: Foundation<IngestConfig> & {
    records: JobRecords
    inputs: InputTaker
    board: Board
    workers: Workers
    fullStreams: FullStreams
  },
): Admission {
  const { bus, records, inputs, board, workers, fullStreams, clock, timings } = deps

  return async (submission) => {
    const beganMs = clock.monotonicMs()
    const key = jobKey(submission.owner, submission.jobId)
    const fingerprint = fingerprintOf(submission)
    const earlier = await records.find(key)
    if (earlier) return replay(earlier.value, fingerprint)
    // Past this point a full stream would leave a stored job behind an error.
    if (blocksAdmission(await fullStreams())) throw new AppError('BROKER_UNAVAILABLE')

    const nonce = randomBytes(8).toString('hex')
    const taken = await inputs.take({ ...submission, nonce })
    const job = recordOf(submission, fingerprint, nonce, taken)
    if (clock.monotonicMs() - beganMs > timings.admissionMs)
      throw new AppError('STORE_UNAVAILABLE', { details: { reason: 'the upload took too long' } })

    // If this throws, the record may exist and name these inputs: the janitor's sweep decides on them.
    if ((await records.create(key, job)) === 'exists') {
      const winner = await records.find(key)
      if (winner?.value.nonce !== nonce) {
        await inputs.discard([job.image.key, job.audio.key])
        if (!winner) throw new AppError('BROKER_UNAVAILABLE')
        return replay(winner.value, fingerprint)
      }
    }
    board.note(job)
    await announce(job)
    return { job, isNew: true, warnings: taken.audio.warnings }
  }

  /** Announces a pending job again, because the first announcement may have been lost. */
  async function replay(job: JobRecord, fingerprint: string): Promise<Admitted> {
    if (job.fingerprint !== fingerprint) throw new AppError('IDEMPOTENCY_KEY_REUSED')
    if (job.state === 'pending') await announce(job)
    return { job, isNew: false, warnings: [] }
  }

  function recordOf(
    submission: Submission,
    fingerprint: string,
    nonce: string,
    { image, audio }: TakenInputs,
  ): JobRecord {
    const estimatedSeconds = audio.seconds * workers.secondsPerVideoSecond()
    return {
      jobId: submission.jobId,
      owner: submission.owner,
      door: submission.door,
      fingerprint,
      nonce,
      state: 'pending',
      epoch: 0,
      image: {
        key: image.key,
        bytes: image.bytes,
        sha256: image.sha256,
        width: image.width,
        height: image.height,
      },
      audio: { key: audio.key, bytes: audio.bytes, sha256: audio.sha256, seconds: audio.seconds },
      prompt: submission.prompt,
      seed: submission.seed ?? randomInt(limits.seedMax),
      frames: Math.max(1, Math.round(framesPerSecond * audio.seconds)),
      delivery: deliverySizeFor(image),
      ...(submission.reference === undefined ? {} : { reference: submission.reference }),
      traceparent: submission.traceparent,
      createdAtMs: clock.nowMs(),
      estimatedSeconds,
      deadlineSeconds: deadlineSecondsFor(
        estimatedSeconds,
        deps.config.RENDER_DEADLINE_MIN_SECONDS,
      ),
      failures: 0,
      deaths: 0,
      losses: 0,
    }
  }

  async function announce(job: JobRecord) {
    // The revision of a record that was just created is of no use to readers, and 0 saves a read.
    const fact = { ...factOf(job, 0, job.createdAtMs), epoch: 0 }
    await publishEvent(bus, plainEvent('job.submitted', fact), {
      traceparent: job.traceparent,
      timeoutMs: timings.publishAtDoorMs,
    })
  }
}

/** Covers what the client sent, so that a repeated request is recognised before anything is decoded. */
function fingerprintOf(submission: Submission): string {
  const { image, audio, prompt, seed, reference } = submission
  const parts = [image.sha256, audio.sha256, prompt, seed ?? null, reference ?? null]
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex')
}
