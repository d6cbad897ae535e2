import { z } from 'zod'
import { failureCodes } from './failures.ts'
import { jobIdSchema, priorities, sha256Schema } from './job.ts'
import { limits } from './limits.ts'
import { submissionOptions, submissionOptionTexts } from './submission-options.ts'
import { callersText } from './text.ts'

const seedProblem = `must be a whole number from 0 to ${limits.seedMax}`
const seed = z.int(seedProblem).min(0, seedProblem).max(limits.seedMax, seedProblem)

const priorityProblem = `must be ${priorities.join(' or ')}`
const priority = z.enum(priorities, priorityProblem)

/** What a REST submission may carry besides its files. */
export const submissionFieldsSchema = z.strictObject({
  prompt: callersText({ max: limits.promptMaxCharacters }).default(''),
  seed: seed.optional(),
  /** `normal` when it is not given. */
  priority: priority.optional(),
  ...submissionOptions,
})
export type SubmissionFields = z.infer<typeof submissionFieldsSchema>

/** The same fields as a form sends them: as text. */
export const submissionTextSchema = submissionFieldsSchema.extend({
  seed: z
    .string()
    .trim()
    .min(1, seedProblem)
    .pipe(z.coerce.number(seedProblem))
    .pipe(seed)
    .optional(),
  priority: z.string().trim().pipe(priority).optional(),
  ...submissionOptionTexts,
})

const objectKey = z.string().min(1).max(1024)

/**
 * What another service publishes on `intake.<publisher>.job.submitted`. The subject names the
 * publisher; its keys must lie under `intake/<publisher>/`.
 */
export const intakeSubmissionSchema = z.strictObject({
  /** One of both: a portrait, or a video to dub. */
  image_key: objectKey.optional(),
  video_key: objectKey.optional(),
  audio_key: objectKey,
  audio2_key: objectKey.optional(),
  voice_key: objectKey.optional(),
  prompt: callersText({ max: limits.promptMaxCharacters }).optional(),
  seed: seed.optional(),
  priority: priority.optional(),
  ...submissionOptions,
  idempotency_key: callersText({ min: 1, max: limits.idempotencyKeyMaxCharacters }).optional(),
  /** The publisher's own name for the submission; every notification repeats it. */
  reference: callersText({ max: limits.referenceMaxCharacters }).optional(),
})
export type IntakeSubmission = z.infer<typeof intakeSubmissionSchema>

/** What a publisher reads on `notify.<publisher>.job.<state>`. Times are ISO 8601, UTC. */
export const notificationSchema = z.object({
  job_id: jobIdSchema,
  status: z.enum(['completed', 'failed', 'cancelled', 'rejected']),
  reference: z.string().optional(),
  at: z.iso.datetime(),
  result: z
    .object({
      /** A presigned URL that is valid until `expires_at`, when the video is deleted. */
      url: z.url(),
      expires_at: z.iso.datetime(),
      bytes: z.int().positive(),
      sha256: sha256Schema,
      width: z.int().positive(),
      height: z.int().positive(),
      fps: z.int().positive(),
      video_seconds: z.number().positive(),
      engine: z.string(),
      degraded: z.boolean(),
    })
    .optional(),
  error: z
    .object({ code: z.enum(failureCodes), message: z.string(), details: z.unknown().optional() })
    .optional(),
})
export type Notification = z.infer<typeof notificationSchema>
