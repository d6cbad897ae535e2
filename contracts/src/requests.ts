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

/** One entry of the GPU queue. It lives as long as its job is unfinished, and names it; no more. */
export const gpuEntrySchema = z.object({ jobId: jobIdSchema, owner: ownerSchema })
export type GpuEntry = z.infer<typeof gpuEntrySchema>

/** A worker asks to render the job of an entry it pulled. */
export const claimRequestSchema = z.object({
  jobId: jobIdSchema,
  owner: ownerSchema,
  workerId: z.string().min(1).max(100),
  incarnation: z.string().min(1).max(100),
  /** The worker's measured speed, from which estimate and deadline follow. */
  secondsPerVideoSecond: z.number().positive(),
})
export type ClaimRequest = z.infer<typeof claimRequestSchema>

/** One input of a job, to be fetched by its short-lived URL and checked. */
export const presignedInputSchema = z
  .object({ url: z.url(), bytes: z.int().positive(), sha256: sha256Schema })
  .meta({ title: 'PresignedInput' })

/** What a worker needs for one attempt. */
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
    /** From the first forward to the last frame, by the worker's clock. */
    deadlineSeconds: z.number().positive(),
    traceparent: traceparentSchema,
  })
  .meta({ title: 'RenderOrder' })
export type RenderOrder = z.infer<typeof renderOrderSchema>

/**
 * `render`: yours, under this epoch. `later`: nak the entry with this delay. `drop`: the job is
 * terminal, ack the entry.
 */
export const claimAnswerSchema = z.discriminatedUnion('answer', [
  renderOrderSchema,
  z
    .object({ answer: z.literal('later'), delayMs: z.int().nonnegative() })
    .meta({ title: 'ClaimLater' }),
  z.object({ answer: z.literal('drop') }).meta({ title: 'ClaimDrop' }),
])
export type ClaimAnswer = z.infer<typeof claimAnswerSchema>

/** A worker asks for leave to upload a rendered file. */
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
 * `lost`: the attempt is not yours any more. `drop`: the job is terminal.
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

export const cancelRequestSchema = z.object({ jobId: jobIdSchema, owner: ownerSchema })
export type CancelRequest = z.infer<typeof cancelRequestSchema>

export const cancelAnswerSchema = z.discriminatedUnion('answer', [
  z.object({ answer: z.literal('cancelling') }),
  z.object({ answer: z.literal('terminal'), state: jobStateSchema }),
  z.object({ answer: z.literal('unknown') }),
])
export type CancelAnswer = z.infer<typeof cancelAnswerSchema>

/** What a responder says when it could not answer; the asker tries again. */
export const requestErrorSchema = z.object({ answer: z.literal('error'), code: z.string() })

/** Orchestrator → worker: stop this attempt, forget it, delete its spool. */
export const stopOrderSchema = z.object({ jobId: jobIdSchema, epoch: z.int().nonnegative() })
export type StopOrder = z.infer<typeof stopOrderSchema>

/** How far a job in a worker's hands is. */
export const heldStages = [
  'fetching',
  'ready',
  'rendering',
  'spooled',
  'uploading',
  'uploaded',
] as const

/** One job in a worker's hands. */
export const heldJobSchema = z
  .object({
    jobId: jobIdSchema,
    owner: ownerSchema,
    epoch: z.int().positive(),
    stage: z.enum(heldStages),
    /** 0 to 100, of this render; never falls within an epoch. */
    percent: z.number().min(0).max(100),
    /** Seconds since the first forward, by the worker's clock; stands still when the child ends. */
    renderedForSeconds: z.number().nonnegative(),
    deadlineSeconds: z.number().positive(),
  })
  .meta({ title: 'HeldJob' })
export type HeldJob = z.infer<typeof heldJobSchema>

/** Worker → all: registry, liveness and progress in one. */
export const beatSchema = z.object({
  workerId: z.string().min(1).max(100),
  /** New with each start of the worker's parent process. */
  incarnation: z.string().min(1).max(100),
  engine: z.string().min(1).max(64),
  /** Left out until the engine is loaded. */
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

/** What lies in the dead-letter stream: the message as it was, and why it is here. */
export const deadLetterSchema = z.object({
  stream: z.string(),
  consumer: z.string(),
  subject: z.string(),
  sequence: z.int().nonnegative(),
  reason: z.string(),
  code: z.string(),
  details: z.record(z.string(), z.unknown()).optional(),
  /** The payload as text; not-UTF-8 bytes are replaced. */
  payload: z.string(),
  atMs: timeMsSchema,
})
export type DeadLetter = z.infer<typeof deadLetterSchema>
