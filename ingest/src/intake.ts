import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import {
  type IntakeSubmission,
  intakeSubmissionSchema,
  isIntakeKeyOf,
  limits,
  type Notification,
  publisherOfSubject,
  subjects,
} from '@avatar/contracts'
import {
  AppError,
  asAppError,
  type Bus,
  type Clock,
  type Delivery,
  type ObjectStore,
} from '@avatar/service-kit'
import { v5 as uuidv5 } from 'uuid'
import type { Admission } from './admission.ts'
import type { UploadSpool } from './upload-spool.ts'

/** The namespace of job ids that follow from a publisher and its event; chosen once. */
const jobIdNamespace = '1d2f1bb4-5b7e-4e64-8a55-0c5a7f1c9e21'

/**
 * Another service submitted a job by event. The publisher is the subject's token; its inputs must lie
 * in its own folder. What cannot become a job goes to the dead letters with a reason, and the
 * publisher is told.
 */
export function onIntakeSubmitted(deps: {
  bus: Bus
  objects: ObjectStore
  admit: Admission
  spool: UploadSpool
  clock: Clock
}) {
  const { bus, objects, admit, spool, clock } = deps
  return async (body: unknown, delivery: Delivery): Promise<void> => {
    const publisher = publisherOfSubject(delivery.subject)
    if (!publisher)
      throw new AppError('INVALID_MESSAGE', { details: { subject: delivery.subject } })
    const parsed = intakeSubmissionSchema.safeParse(body)
    const reference = parsed.success ? parsed.data.reference : undefined
    const seed = parsed.data?.idempotency_key ?? `#${delivery.sequence}`
    const jobId = uuidv5(`${publisher}\n${seed}`, jobIdNamespace)
    try {
      if (!parsed.success)
        throw new AppError('INVALID_MESSAGE', {
          details: {
            problems: parsed.error.issues.map(
              ({ path, message }) => `${path.join('.')}: ${message}`,
            ),
          },
        })
      await admitSubmission(publisher, jobId, parsed.data, delivery)
    } catch (error) {
      const failure = asAppError(error)
      // The fifth failure of our own would bury the event; a full disk it shall wait out.
      if (failure.code === 'STORAGE_FULL') throw new AppError('STORE_UNAVAILABLE', { cause: error })
      if (!failure.mayRetry) await reject(publisher, jobId, reference, failure, delivery.sequence)
      throw failure
    }
  }

  async function admitSubmission(
    publisher: string,
    jobId: string,
    submission: IntakeSubmission,
    delivery: Delivery,
  ) {
    await spool.withFolder(async (folder) => {
      const image = await fetchInput(publisher, submission.image_key, folder, 'image')
      const audio = await fetchInput(publisher, submission.audio_key, folder, 'audio')
      const { job, isNew } = await admit({
        jobId,
        owner: publisher,
        door: 'event',
        imagePath: image.path,
        imageSha256: image.sha256,
        audioPath: audio.path,
        audioSha256: audio.sha256,
        prompt: submission.prompt ?? '',
        seed: submission.seed,
        reference: submission.reference,
        traceparent: delivery.traceparent,
        folder,
      })
      delivery.log.info({ jobId, attempt: job.epoch, isNew }, 'job accepted')
    })
  }

  async function fetchInput(
    publisher: string,
    key: string,
    folder: string,
    medium: 'image' | 'audio',
  ) {
    if (!isIntakeKeyOf(publisher, key)) throw new AppError('FOREIGN_OBJECT', { details: { key } })
    const path = join(folder, medium)
    const maxBytes = medium === 'image' ? limits.imageMaxBytes : limits.audioMaxBytes
    const bytes = await objects.getFile(key, path, maxBytes)
    if (bytes === undefined) throw new AppError('OBJECT_MISSING', { details: { key } })
    if (bytes > maxBytes)
      throw new AppError(medium === 'image' ? 'IMAGE_TOO_LARGE' : 'AUDIO_TOO_LARGE')
    const hash = createHash('sha256')
    for await (const block of createReadStream(path)) hash.update(block)
    return { path, sha256: hash.digest('hex') }
  }

  async function reject(
    publisher: string,
    jobId: string,
    reference: string | undefined,
    failure: AppError,
    sequence: number,
  ) {
    const note: Notification = {
      job_id: jobId,
      status: 'rejected',
      ...(reference === undefined ? {} : { reference }),
      at: new Date(clock.nowMs()).toISOString(),
      error: { code: failure.code, message: failure.message, details: failure.details },
    }
    // Two events under one idempotency key may both be refused, and each is told.
    const messageId = `${jobId}:notify:rejected:${sequence}`
    await bus.publish(subjects.notify(publisher, 'rejected'), note, { messageId })
  }
}
