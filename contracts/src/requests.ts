import { z } from 'zod'
import {
  engineFactsSchema,
  jobIdSchema,
  jobStateSchema,
  ownerSchema,
  sha256Schema,
  sizeSchema,
  timeMsSchema,
  traceparentSchema,
} from './job.ts'
import { limits } from './limits.ts'

/** One entry of the GPU queue. It exists until its job has ended, and does no more than name it. */
export const gpuEntrySchema = z.object({ jobId: jobIdSchema, owner: ownerSchema })
export type GpuEntry = z.infer<typeof gpuEntrySchema>

/** A worker asks to render the job whose entry it pulled. */
export const claimRequestSchema = z.object({
  jobId: jobIdSchema,
  owner: ownerSchema,
  workerId: z.string().min(1).max(100),
  incarnation: z.string().min(1).max(100),
  /** The worker's measured speed; estimate and deadline follow from it. */
  secondsPerVideoSecond: z.number().positive(),
})
export type ClaimRequest = z.infer<typeof claimRequestSchema>

/** One input of a job, which the worker fetches by a presigned URL and checks. */
export const presignedInputSchema = z
  .object({ url: z.url(), bytes: z.int().positive(), sha256: sha256Schema })
  .meta({ title: 'PresignedInput' })

/** Everything that a worker needs for one attempt. */
export const renderOrderSchema = z
  .object({
    answer: z.literal('render'),
    epoch: z.int().positive(),
    image: presignedInputSchema,
    audio: presignedInputSchema,
    prompt: z.string(),
    seed: z.int().nonnegative(),
    frames: z.int().positive(),
    delivery: sizeSchema,
    /** From the first denoising step to the last frame, by the worker's clock. */
    deadlineSeconds: z.number().positive(),
    traceparent: traceparentSchema,
  })
  .meta({ title: 'RenderOrder' })
export type RenderOrder = z.infer<typeof renderOrderSchema>

/**
 * `render`: the attempt is yours, under this epoch. `later`: negative-acknowledge the entry with this
 * delay. `drop`: the job has ended, acknowledge the entry.
 */
export const claimAnswerSchema = z.discriminatedUnion('answer', [
  renderOrderSchema,
  z
    .object({ answer: z.literal('later'), delayMs: z.int().nonnegative() })
    .meta({ title: 'ClaimLater' }),
  z.object({ answer: z.literal('drop') }).meta({ title: 'ClaimDrop' }),
])
export type ClaimAnswer = z.infer<typeof claimAnswerSchema>

/** A worker asks for a presigned URL to upload a rendered file. */
export const storeRequestSchema = z.object({
  jobId: jobIdSchema,
  owner: ownerSchema,
  workerId: z.string().min(1).max(100),
  epoch: z.int().positive(),
  bytes: z.int().positive(),
  sha256: sha256Schema,
})
export type StoreRequest = z.infer<typeof storeRequestSchema>

/**
 * `grant`: PUT the file to `url` with exactly these headers. `stop`: the job is being cancelled.
 * `lost`: the attempt is not yours any more. `drop`: the job has ended.
 */
export const storeAnswerSchema = z.discriminatedUnion('answer', [
  z
    .object({
      answer: z.literal('grant'),
      key: z.string(),
      url: z.url(),
      headers: z.record(z.string(), z.string()),
    })
    .meta({ title: 'StoreGrant' }),
  z.object({ answer: z.literal('stop') }).meta({ title: 'StoreStop' }),
  z.object({ answer: z.literal('lost') }).meta({ title: 'StoreLost' }),
  z.object({ answer: z.literal('drop') }).meta({ title: 'StoreDrop' }),
])
export type StoreAnswer = z.infer<typeof storeAnswerSchema>

/** Ingest asks on behalf of a client to cancel a job. */
export const cancelRequestSchema = z.object({ jobId: jobIdSchema, owner: ownerSchema })
export type CancelRequest = z.infer<typeof cancelRequestSchema>

/** `cancelling`: the request is stored. `terminal`: the job has ended. `unknown`: no such job. */
export const cancelAnswerSchema = z.discriminatedUnion('answer', [
  z.object({ answer: z.literal('cancelling') }),
  z.object({ answer: z.literal('terminal'), state: jobStateSchema }),
  z.object({ answer: z.literal('unknown') }),
])
export type CancelAnswer = z.infer<typeof cancelAnswerSchema>

/** What a responder replies when it fails; the requester tries again. */
export const requestErrorSchema = z.object({ answer: z.literal('error'), code: z.string() })

/** Orchestrator → worker: stop this attempt, forget it, and delete its spooled file. */
export const stopOrderSchema = z.object({ jobId: jobIdSchema, epoch: z.int().nonnegative() })
export type StopOrder = z.infer<typeof stopOrderSchema>

/** How far a job is that a worker holds. */
const heldStages = ['fetching', 'ready', 'rendering', 'spooled', 'uploading', 'uploaded'] as const

/** One job that a worker holds. */
export const heldJobSchema = z
  .object({
    jobId: jobIdSchema,
    owner: ownerSchema,
    epoch: z.int().positive(),
    stage: z.enum(heldStages),
    /** Progress of this render, 0 to 100; never falls within an epoch. */
    percent: z.number().min(0).max(100),
    /** Since the first denoising step, by the worker's clock; stops when the render process ends. */
    renderedForSeconds: z.number().nonnegative(),
    deadlineSeconds: z.number().positive(),
  })
  .meta({ title: 'HeldJob' })
export type HeldJob = z.infer<typeof heldJobSchema>

/** Worker → everyone: the heartbeat, which is registry, liveness and progress in one. */
export const beatSchema = z.object({
  workerId: z.string().min(1).max(100),
  /** Changes with each start of the worker. */
  incarnation: z.string().min(1).max(100),
  engine: z.string().min(1).max(64),
  /** Absent until the engine is loaded. */
  engineFacts: engineFactsSchema.optional(),
  state: z.enum(['loading', 'ready', 'rendering', 'draining']),
  /** Null until the engine is loaded and calibrated. */
  secondsPerVideoSecond: z.number().nullable(),
  atMs: timeMsSchema,
  jobs: z.array(heldJobSchema).max(limits.beatMaxJobs),
})
export type Beat = z.infer<typeof beatSchema>

/** The body of a deletion timer. */
export const deletionDueSchema = z.object({ jobId: jobIdSchema, owner: ownerSchema })
export type DeletionDue = z.infer<typeof deletionDueSchema>

/** A dead letter: the message as it was, and why nobody could handle it. */
export const deadLetterSchema = z.object({
  stream: z.string(),
  consumer: z.string(),
  subject: z.string(),
  sequence: z.int().nonnegative(),
  reason: z.string(),
  code: z.string(),
  details: z.record(z.string(), z.unknown()).optional(),
  /** The payload as text; bytes that are not UTF-8 are replaced. */
  payload: z.string(),
  atMs: timeMsSchema,
})
export type DeadLetter = z.infer<typeof deadLetterSchema>
