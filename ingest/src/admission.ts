import { createHash, randomBytes, randomInt } from 'node:crypto'
import {
  type AnyEvent,
  clashOf,
  deadlineSecondsFor,
  deliverySizeFor,
  framesPerSecond,
  type JobRecord,
  jobKey,
  limits,
  type Needs,
  needsFor,
  optionsGiven,
  type Priority,
  plainNeeds,
  renderOptionsOf,
  type SubmissionOptions,
  spanNames,
  streams,
  subjects,
} from '@avatar/contracts'
import { factOf, type JobRecords, plainEvent, publishEvent } from '@avatar/job-kit'
import { AppError, type Foundation, withSpan } from '@avatar/service-kit'
import type { Board } from './board.ts'
import type { IngestConfig } from './config.ts'
import type { Estimates } from './estimates.ts'
import { fieldRefused } from './field-refused.ts'
import type { RawMedia } from './input-media.ts'
import type { OfferCheck } from './not-offered.ts'
import { type LookForRoom, refusalOf } from './queue-room.ts'
import type { Quotas } from './quotas.ts'
import type { InputTaker, TakenInputs } from './take-inputs.ts'

/** One submission through either door: the raw inputs on disk, and who sent them. */
export type Submission = RawMedia & {
  jobId: string
  /** The id was made at random for this submission, so that no job can have had it before. */
  isIdFresh?: boolean
  owner: string
  door: JobRecord['door']
  prompt: string
  seed?: number | undefined
  priority?: Priority | undefined
  options: SubmissionOptions
  reference?: string | undefined
  traceparent: string
  /** A private folder for the normalised inputs. */
  folder: string
  /** Aborts when nobody waits for the answer any more. */
  signal?: AbortSignal | undefined
}

/** More than a job has. */
const factsOfOneJob = 1_000

export type Admitted = { job: JobRecord; isNew: boolean }

/** Turns a submission into a job. Both doors use it, so that media are checked in one place. */
export type Admission = (submission: Submission) => Promise<Admitted>

/**
 * Checks, normalises and stores the inputs, creates the record and announces it. The job exists as
 * soon as its record does. A repeated request finds the record and gets the same job.
 *
 * @throws AppError IDEMPOTENCY_KEY_REUSED for another request under the same id; BROKER_UNAVAILABLE,
 * STORE_UNAVAILABLE; whatever the media checks throw; the reason of the signal, before the job exists
 */
export function createAdmission(
  deps: Foundation<IngestConfig> & {
    records: JobRecords
    inputs: InputTaker
    board: Board
    estimates: Estimates
    lookForRoom: LookForRoom
    quotas: Quotas
    offerCheck: OfferCheck
  },
): Admission {
  const { bus, records, inputs, board, estimates, lookForRoom, quotas, offerCheck } = deps
  const { clock, timings } = deps

  return async (submission) => {
    const beganMs = clock.monotonicMs()
    refuseClash(submission)
    const key = jobKey(submission.owner, submission.jobId)
    const fingerprint = fingerprintOf(submission)
    const earlier = await records.find(key)
    if (earlier) return replay(earlier.value, fingerprint)
    // Past this point a full stream would leave a stored job behind an error.
    const refusal =
      offerCheck.refusalOf(neededBy(submission)) ??
      quotas.refusalOf(submission.owner) ??
      refusalOf(await lookForRoom())
    if (refusal) throw refusal

    const nonce = randomBytes(8).toString('hex')
    const taken = await inputs.take({ ...submission, nonce })
    const epoch = submission.isIdFresh ? 0 : await unusedEpoch(submission.jobId)
    const job = toldOf(recordOf({ submission, fingerprint, nonce, taken, epoch }))
    if (clock.monotonicMs() - beganMs > timings.admissionMs)
      throw new AppError('STORE_UNAVAILABLE', { details: { reason: 'the upload took too long' } })

    const winner = await withSpan(spanNames.createRecord, {}, () => create(job, nonce))
    if (winner) return replay(winner, fingerprint)
    await announce(job)
    return { job, isNew: true }
  }

  /** Creates the record within the owner's limits. @returns the record of another request that was first */
  async function create(job: JobRecord, nonce: string): Promise<JobRecord | undefined> {
    const discard = () => inputs.discard(inputKeysOf(job))
    const reservation = await reserve(job, discard)
    try {
      const key = jobKey(job.owner, job.jobId)
      // If this throws, the record may exist and name these inputs: the janitor's sweep decides on them.
      if ((await records.create(key, job)) === 'exists') {
        const winner = await records.find(key)
        if (winner?.value.nonce !== nonce) {
          await discard()
          if (!winner) throw new AppError('BROKER_UNAVAILABLE')
          return winner.value
        }
      }
      board.note(job)
      return undefined
    } finally {
      reservation.release()
    }
  }

  async function reserve({ owner, estimatedSeconds }: JobRecord, discard: () => Promise<unknown>) {
    try {
      return quotas.reserve(owner, estimatedSeconds)
    } catch (error) {
      await discard()
      throw error
    }
  }

  /** Announces a pending job again, because the first announcement may have been lost. */
  async function replay(job: JobRecord, fingerprint: string): Promise<Admitted> {
    if (job.fingerprint !== fingerprint) throw new AppError('IDEMPOTENCY_KEY_REUSED')
    if (job.state === 'pending') await announce(job)
    return { job, isNew: false }
  }

  /**
   * An epoch that no event of this id has: 0, unless the id belonged to a job before whose record was
   * removed. Events of the same type and epoch have the same message id, of which the broker stores one.
   */
  async function unusedEpoch(jobId: string): Promise<number> {
    const subject = subjects.eventsOfJob(jobId)
    const facts = await bus.readStream(streams.EVENTS.name, subject, 1, factsOfOneJob)
    // Only our own services publish events.
    return Math.max(-1, ...facts.map(({ body }) => (body as AnyEvent).epoch)) + 1
  }

  function recordOf(parts: {
    submission: Submission
    fingerprint: string
    nonce: string
    taken: TakenInputs
    epoch: number
  }): JobRecord {
    const { submission, fingerprint, nonce, epoch } = parts
    const { image, audio, voices, source } = parts.taken
    const found = [...image.warnings, ...audio.warnings]
    const warnings = found.slice(0, limits.warningsPerJob)
    const frames = Math.max(1, Math.round(framesPerSecond * audio.seconds))
    const how = renderOptionsOf(submission.options)
    const estimatedSeconds = estimates.renderSeconds(frames, neededBy(submission))
    return {
      jobId: submission.jobId,
      owner: submission.owner,
      door: submission.door,
      fingerprint,
      nonce,
      state: 'pending',
      epoch,
      image: {
        key: image.key,
        bytes: image.bytes,
        sha256: image.sha256,
        width: image.width,
        height: image.height,
      },
      audio: { key: audio.key, bytes: audio.bytes, sha256: audio.sha256, seconds: audio.seconds },
      ...(voices ? { voices } : {}),
      ...(source ? { source } : {}),
      prompt: submission.prompt,
      seed: submission.seed ?? randomInt(limits.seedMax),
      frames,
      delivery: deliverySizeFor(image, how?.aspect),
      ...(how ? { how } : {}),
      ...(warnings.length > 0 ? { warnings } : {}),
      ...(submission.reference === undefined ? {} : { reference: submission.reference }),
      ...(submission.priority === undefined ? {} : { priority: submission.priority }),
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

  /** Keeps with the job what its client is told of it. */
  function toldOf(job: JobRecord): JobRecord {
    const atMs = estimates.completesAtMs(job, job.createdAtMs)
    const completesAtMs = atMs === undefined ? undefined : Math.round(atMs)
    return { ...job, told: { renderSeconds: job.estimatedSeconds, completesAtMs } }
  }

  async function announce(job: JobRecord) {
    // The revision of a record that was just created is of no use to readers, and 0 saves a read.
    await publishEvent(bus, plainEvent('job.submitted', factOf(job, 0, job.createdAtMs)), {
      traceparent: job.traceparent,
      timeoutMs: timings.publishAtDoorMs,
    })
  }
}

/** Every object that the record names as an input. */
function inputKeysOf({ image, audio, voices = [], source }: JobRecord): string[] {
  return [image, audio, ...voices, ...(source ? [source] : [])].map(({ key }) => key)
}

/** @throws AppError INVALID_REQUEST when an option makes no sense beside what else was sent */
function refuseClash({ options, image, video, audio2, voice }: Submission): void {
  const sent = { image: !!image, video: !!video, audio2: !!audio2, voice: !!voice }
  const clash = clashOf(options, sent)
  if (clash) throw fieldRefused(clash.field, clash.problem)
}

/** What a job of this submission would need, before there is one. */
function neededBy({ options, video, audio2, voice }: Submission): Needs {
  const how = renderOptionsOf(options)
  if (!how && !video && !audio2 && !voice) return plainNeeds
  return needsFor(how?.quality, audio2 || options.turns ? 2 : 1, video !== undefined)
}

/** Covers what the client sent, so that a repeated request is recognised before anything is decoded. */
function fingerprintOf(submission: Submission): string {
  const { image, video, audio, audio2, voice } = submission
  const { prompt, seed, reference, priority, options } = submission
  const picture = image ?? video
  const parts: unknown[] = [picture?.sha256, audio.sha256, prompt, seed ?? null, reference ?? null]
  // Fingerprints of requests without a priority, or options, stay what they were before there were any.
  if (priority !== undefined) parts.push(priority)
  const given = optionsGiven(options)
  if (given) parts.push(given)
  if (video || audio2 || voice)
    parts.push({ isVideo: !!video, audio2: audio2?.sha256, voice: voice?.sha256 })
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex')
}
