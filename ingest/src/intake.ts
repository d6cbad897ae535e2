import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import {
  type IntakeSubmission,
  intakeSubmissionSchema,
  isIntakeKeyOf,
  type Notification,
  publisherOfSubject,
} from '@avatar/contracts'
import { publishNotification } from '@avatar/job-kit'
import {
  AppError,
  type Delivery,
  type Foundation,
  logFailure,
  type ObjectStore,
} from '@avatar/service-kit'
import { v5 as uuidv5 } from 'uuid'
import type { Admission } from './admission.ts'
import { type InputMedium, inputMedia } from './input-media.ts'
import type { UploadSpool } from './upload-spool.ts'

/** The UUID namespace in which a publisher and its idempotency key give the job id. It must never change. */
const jobIdNamespace = '1d2f1bb4-5b7e-4e64-8a55-0c5a7f1c9e21'

/**
 * Admits jobs that other services submit by event. The subject names the publisher, and its inputs
 * must lie in its own folder. An event that cannot become a job is dead-lettered with a reason, and
 * its publisher is notified.
 */
export function intakeHandler(
  deps: Pick<Foundation, 'bus' | 'clock'> & {
    objects: ObjectStore
    admit: Admission
    spool: UploadSpool
  },
) {
  const { bus, objects, admit, spool, clock } = deps

  async function handle(submission: IntakeSubmission, delivery: Delivery): Promise<void> {
    const { publisher, jobId } = identityOf(submission, delivery)
    const admitting = spool.withFolder(async (folder) => {
      const { job, isNew } = await admit({
        jobId,
        owner: publisher,
        door: 'event',
        image: await fetchInput(publisher, submission.image_key, folder, 'image'),
        audio: await fetchInput(publisher, submission.audio_key, folder, 'audio'),
        prompt: submission.prompt ?? '',
        seed: submission.seed,
        reference: submission.reference,
        traceparent: delivery.traceparent,
        folder,
      })
      delivery.log.info({ jobId, attempt: job.epoch, isNew }, 'job accepted')
    })
    await admitting.catch((error) => {
      if (!(error instanceof AppError && error.code === 'STORAGE_FULL')) throw error
      // The event has to wait. As it is, the fifth failure would dead-letter it.
      logFailure(delivery.log, error, 'no room for the inputs of an event', { jobId })
      throw new AppError('STORE_UNAVAILABLE', { cause: error })
    })
  }

  /** Two events under one idempotency key may both be refused: `instance` notifies of each. */
  async function onReject(failure: AppError, body: unknown, delivery: Delivery): Promise<void> {
    if (failure.mayRetry) return // Our failure, not the publisher's: only the dead letter records it.
    const submission = intakeSubmissionSchema.safeParse(body).data
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

  return { handle, onReject }
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
