import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import {
  type FailureCode,
  failures,
  type IntakeSubmission,
  intakeSubmissionSchema,
  isIntakeKeyOf,
  jobKey,
  type Notification,
  optionNames,
  publisherOfSubject,
  type SubmissionOptions,
  spanAttributes,
} from '@avatar/contracts'
import { type JobRecords, publishNotification } from '@avatar/job-kit'
import {
  AppError,
  beginTrace,
  type Delivery,
  describeSpan,
  type Foundation,
  isTracing,
  logFailure,
  type ObjectStore,
  type TraceDelivery,
} from '@avatar/service-kit'
import { v5 as uuidv5 } from 'uuid'
import type { Admission } from './admission.ts'
import type { IngestConfig } from './config.ts'
import { type InputMedium, inputMedia, type RawMedia } from './input-media.ts'
import type { Quotas } from './quotas.ts'
import type { PublisherTurns } from './rate/publisher-turns.ts'
import type { UploadSpool } from './upload-spool.ts'

/** The UUID namespace in which a publisher and its idempotency key give the job id. It must never change. */
const jobIdNamespace = '1d2f1bb4-5b7e-4e64-8a55-0c5a7f1c9e21'

/** Refusals of an event that is in order. */
const quotaCodes: ReadonlySet<FailureCode> = new Set([
  'TOO_MANY_JOBS',
  'GPU_SECONDS_EXHAUSTED',
  'BUDGET_EXHAUSTED',
  'QUEUE_FULL',
  'SERVICE_BUDGET_EXHAUSTED',
])

/**
 * Admits jobs that other services submit by event. The subject names the publisher, and its inputs
 * must lie in its own folder. An event over its publisher's rate or number of jobs waits. An event that
 * cannot become a job is dead-lettered with a reason, and its publisher is notified.
 */
export function intakeHandler(
  deps: Pick<Foundation<IngestConfig>, 'bus' | 'clock' | 'config' | 'timings' | 'metrics'> & {
    objects: ObjectStore
    admit: Admission
    spool: UploadSpool
    turns: PublisherTurns
    quotas: Quotas
    records: JobRecords
  },
) {
  const { bus, objects, records, admit, spool, turns, quotas, clock, config, timings } = deps
  const { submissions_refused_total: refused } = deps.metrics.of('ingest')
  const countRefused = (code: FailureCode) =>
    refused.add(1, { door: 'event', code, blame: failures[code].blame })

  async function handle(submission: IntakeSubmission, delivery: Delivery): Promise<void> {
    const { publisher, jobId } = identityOf(submission, delivery)
    describeSpan({ [spanAttributes.jobId]: jobId, [spanAttributes.owner]: publisher })
    await turns.take(publisher, delivery)
    const refusal = quotas.refusalOf(publisher)
    if (refusal && !(await records.find(jobKey(publisher, jobId))))
      return settleQuota(refusal, submission, delivery)
    const admitting = spool.withFolder(async (folder) => {
      const { job, isNew } = await admit({
        jobId,
        owner: publisher,
        door: 'event',
        ...(await fetchMedia(publisher, submission, folder)),
        prompt: submission.prompt ?? '',
        seed: submission.seed,
        priority: submission.priority,
        options: optionsOf(submission),
        reference: submission.reference,
        traceparent: delivery.traceparent,
        folder,
      })
      const keys = { jobId, attempt: job.epoch, owner: publisher, isNew }
      delivery.log.info(keys, 'job accepted')
    })
    await admitting.catch((error) => {
      if (error instanceof AppError && quotaCodes.has(error.code))
        return settleQuota(error, submission, delivery)
      if (!(error instanceof AppError && error.code === 'STORAGE_FULL')) throw error
      // The event has to wait. As it is, the fifth failure would dead-letter it.
      logFailure(delivery.log, error, 'no room for the inputs of an event', { jobId })
      throw new AppError('STORE_UNAVAILABLE', { cause: error })
    })
  }

  /**
   * An event over a quota waits while that passes by itself. A spent day or month is told to the publisher,
   * who decides whether to send it again: it is no broken message, and no dead letter.
   *
   * @throws AppError with the time to wait
   */
  async function settleQuota(refusal: AppError, submission: IntakeSubmission, delivery: Delivery) {
    const { code, details } = refusal
    if (code === 'BUDGET_EXHAUSTED' || code === 'GPU_SECONDS_EXHAUSTED') {
      logFailure(delivery.log, refusal, 'event rejected', {
        owner: identityOf(submission, delivery).publisher,
      })
      countRefused(code)
      return notifyRejected(refusal, submission, delivery)
    }
    const retryAfterMs = quotaCodes.has(code) ? timings.quotaAgainMs : refusal.retryAfterMs
    throw new AppError(code, { details, retryAfterMs, message: refusal.message })
  }

  async function onReject(failure: AppError, body: unknown, delivery: Delivery): Promise<void> {
    countRefused(failure.code)
    if (failure.mayRetry) return // Our failure, not the publisher's: only the dead letter records it.
    await notifyRejected(failure, intakeSubmissionSchema.safeParse(body).data, delivery)
  }

  /** Two events under one idempotency key may both be refused: `instance` notifies of each. */
  async function notifyRejected(
    failure: AppError,
    submission: IntakeSubmission | undefined,
    delivery: Delivery,
  ) {
    const { publisher, jobId } = identityOf(submission, delivery)
    const note: Notification = {
      job_id: jobId,
      status: 'rejected',
      ...(submission?.reference === undefined ? {} : { reference: submission.reference }),
      at: new Date(clock.nowMs()).toISOString(),
      error: { code: failure.code, message: failure.message, details: failure.details },
    }
    await publishNotification(bus, publisher, note, { instance: delivery.sequence })
  }

  async function fetchMedia(
    publisher: string,
    submission: IntakeSubmission,
    folder: string,
  ): Promise<RawMedia> {
    const { image_key, video_key, audio_key, audio2_key, voice_key } = submission
    if (image_key === undefined && video_key === undefined)
      throw new AppError('INVALID_MESSAGE', { details: { problem: 'it has no image_key' } })
    const fetched = async (key: string | undefined, medium: InputMedium) =>
      key === undefined ? undefined : await fetchInput(publisher, key, folder, medium)
    return {
      image: await fetched(image_key, 'image'),
      video: await fetched(video_key, 'video'),
      audio: await fetchInput(publisher, audio_key, folder, 'audio'),
      audio2: await fetched(audio2_key, 'audio2'),
      voice: await fetched(voice_key, 'voice'),
    }
  }

  async function fetchInput(publisher: string, key: string, folder: string, medium: InputMedium) {
    if (!isIntakeKeyOf(publisher, key)) throw new AppError('FOREIGN_OBJECT', { details: { key } })
    const path = join(folder, medium)
    const { maxBytes, tooLarge } = inputMedia[medium]
    const bytes = await objects.getFile(key, path, maxBytes)
    if (bytes === undefined) throw new AppError('OBJECT_MISSING', { details: { key } })
    if (bytes > maxBytes) throw new AppError(tooLarge)
    const hash = createHash('sha256')
    for await (const block of createReadStream(path)) hash.update(block)
    return { path, sha256: hash.digest('hex') }
  }

  /** As at the other door: the publisher's trace id is taken, and whether it is kept is ours to say. */
  const traceDelivery: TraceDelivery = (traceparent) => ({
    trace: beginTrace(traceparent, isTracing() ? config.TRACE_JOBS_RATIO : 0),
  })

  return { handle, onReject, traceDelivery }
}

/**
 * The publisher, and the id that its job has or would have. The same idempotency key gives the same
 * job; an event without one gives a job of its own.
 */
function identityOf(submission: IntakeSubmission | undefined, { subject, sequence }: Delivery) {
  const publisher = publisherOfSubject(subject)
  if (!publisher) throw new AppError('UNEXPECTED', { details: { subject } }) // The consumer's filter rules it out.
  const seed = submission?.idempotency_key ?? `#${sequence}`
  return { publisher, jobId: uuidv5(`${publisher}\n${seed}`, jobIdNamespace) }
}

/** The options of an event; what is no option is left out. */
function optionsOf(submission: IntakeSubmission): SubmissionOptions {
  return Object.fromEntries(optionNames.map((name) => [name, submission[name]]))
}
