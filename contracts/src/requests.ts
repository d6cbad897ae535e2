import { z } from 'zod'
import {
  engineFactsSchema,
  jobIdSchema,
  jobStateSchema,
  ownerSchema,
  poolSchema,
  sha256Schema,
  sizeSchema,
  timeMsSchema,
  traceparentSchema,
} from './job.ts'
import { limits } from './limits.ts'
import { offersSchema } from './offers.ts'
import { renderOptionsSchema } from './render-options.ts'

/** The name of a wake-up: a worker brings it along from the provider. */
export const wakeIdSchema = z.string().regex(/^[0-9a-f]{24}$/)

/** A worker asks for the next job. */
export const nextRequestSchema = z.object({
  workerId: z.string().min(1).max(100),
  incarnation: z.string().min(1).max(100),
  /** The worker keeps this name until it has brought a job: a repeated ask gets the same one. */
  ask: z.string().min(1).max(64),
  pool: poolSchema,
  /** The worker's measured speed; estimate and deadline follow from it. */
  secondsPerVideoSecond: z.number().positive(),
  /** What it can do. Workers of an earlier version leave it out, and get jobs that ask for nothing. */
  offers: offersSchema.optional(),
  /** False for a worker that still renders and asks ahead. */
  isIdle: z.boolean(),
  /** How long the worker waits for a job to come, before it is answered `none`. */
  waitMs: z.number().nonnegative().max(60_000),
})
export type NextRequest = z.infer<typeof nextRequestSchema>

/** A worker asks for fresh URLs of the inputs of an attempt that it has in hand. */
export const claimRequestSchema = z.object({
  jobId: jobIdSchema,
  owner: ownerSchema,
  workerId: z.string().min(1).max(100),
  incarnation: z.string().min(1).max(100),
  epoch: z.int().positive(),
})
export type ClaimRequest = z.infer<typeof claimRequestSchema>

/** One input of a job, which the worker fetches by a presigned URL and checks. */
export const presignedInputSchema = z
  .object({ url: z.url(), bytes: z.int().positive(), sha256: sha256Schema })
  .meta({ title: 'PresignedInput' })

/** A voice that drives one mouth, from so many seconds after the start on. */
export const presignedVoiceSchema = presignedInputSchema
  .extend({ startSeconds: z.number().nonnegative() })
  .meta({ title: 'PresignedVoice' })

/** Everything that a worker needs for one attempt. */
export const renderOrderSchema = z
  .object({
    answer: z.literal('render'),
    jobId: jobIdSchema,
    owner: ownerSchema,
    epoch: z.int().positive(),
    image: presignedInputSchema,
    audio: presignedInputSchema,
    /** As in the record: absent where the lips follow `audio`. */
    voices: z.array(presignedVoiceSchema).min(1).max(2).optional(),
    /** The video to dub. */
    source: presignedInputSchema.optional(),
    prompt: z.string(),
    seed: z.int().nonnegative(),
    frames: z.int().positive(),
    delivery: sizeSchema,
    /** As in the record; absent where nothing was asked for. */
    how: renderOptionsSchema.optional(),
    /** From the first denoising step to the last frame, by the worker's clock. */
    deadlineSeconds: z.number().positive(),
    /**
     * The span `attempt`, below which the worker's spans hang; it is written once the attempt has ended. Its
     * flags say whether the job is traced.
     */
    traceparent: traceparentSchema,
  })
  .meta({ title: 'RenderOrder' })
export type RenderOrder = z.infer<typeof renderOrderSchema>

/** `render`: the job is yours, under this epoch. `none`: no job may start now; ask again. */
export const nextAnswerSchema = z.discriminatedUnion('answer', [
  renderOrderSchema,
  z.object({ answer: z.literal('none') }).meta({ title: 'NextNone' }),
])
export type NextAnswer = z.infer<typeof nextAnswerSchema>

/** `render`: the same order with fresh URLs. `lost`: the attempt is not yours any more. */
export const claimAnswerSchema = z.discriminatedUnion('answer', [
  renderOrderSchema,
  z.object({ answer: z.literal('lost') }).meta({ title: 'ClaimLost' }),
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

/**
 * A worker asks whether to stay, before it loads anything: at this moment it costs a container's start,
 * and no more.
 */
export const helloRequestSchema = z.object({
  workerId: z.string().min(1).max(100),
  incarnation: z.string().min(1).max(100),
  pool: poolSchema,
  /** The wake-up that it was started for; absent where nobody rings for workers one by one. */
  wakeId: wakeIdSchema.optional(),
  release: z.string().min(1).max(100).optional(),
  /** The name of its GPU, where it has one. */
  gpu: z.string().min(1).max(100).optional(),
  /** The `contractsNumber` that it was built with. */
  contracts: z.int().positive(),
})
export type HelloRequest = z.infer<typeof helloRequestSchema>

/**
 * `work`: load the engine and take jobs; 0 seconds stand for no limit. A worker that came without a wake-up
 * is given the id of its own. `leave`: nobody needs it; end at once.
 */
export const helloAnswerSchema = z.discriminatedUnion('answer', [
  z
    .object({
      answer: z.literal('work'),
      /** It leaves when it had no job for so long. */
      idleSeconds: z.number().nonnegative(),
      /** It takes no job that would not end within so long of its start. */
      lifetimeSeconds: z.number().nonnegative(),
      wakeId: wakeIdSchema.optional(),
    })
    .meta({ title: 'HelloWork' }),
  z
    .object({
      answer: z.literal('leave'),
      /** For the worker's log. */
      reason: z.string().min(1).max(200),
    })
    .meta({ title: 'HelloLeave' }),
])
export type HelloAnswer = z.infer<typeof helloAnswerSchema>

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

/**
 * Operator or orchestrator → worker: finish the job in hand, take no other, and leave. It is sent again at
 * each heartbeat until one says `draining`: nothing keeps it for a worker that is away.
 */
export const drainOrderSchema = z.object({
  /** Why, for the worker's log. */
  reason: z.string().min(1).max(200),
})
export type DrainOrder = z.infer<typeof drainOrderSchema>

/** How far a job is that a worker holds. */
const heldStages = [
  'fetching',
  'ready',
  'rendering',
  'spooled',
  'uploading',
  'uploaded',
  /** The worker has told the end of the attempt, and nobody has said yet that it is handled. */
  'ended',
] as const

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
    /** Used so far by this attempt. Workers of an earlier version leave out this and what follows. */
    gpuSeconds: z.number().nonnegative().optional(),
    /** Until the render's end, by its pace so far. */
    remainingSeconds: z.number().nonnegative().optional(),
  })
  .meta({ title: 'HeldJob' })
export type HeldJob = z.infer<typeof heldJobSchema>

/** What a worker's renders are compared by: how fast is this engine, at this size, on this device? */
export const paceKeySchema = z
  .object({
    engine: z.string().min(1).max(64),
    size: z.string().min(1).max(32),
    device: z.string().min(1).max(100),
    /** Frames that the engine renders at once; a render takes as long as its chunks. */
    framesPerChunk: z.int().positive(),
  })
  .meta({ title: 'PaceKey' })
export type PaceKey = z.infer<typeof paceKeySchema>

/** How one incarnation of a worker has spent its time so far. */
export const workerTimeSchema = z
  .object({
    loadingSeconds: z.number().nonnegative(),
    idleSeconds: z.number().nonnegative(),
    renderingSeconds: z.number().nonnegative(),
  })
  .meta({ title: 'WorkerTime' })
export type WorkerTime = z.infer<typeof workerTimeSchema>

/** What the driver tells of one GPU. A query that it does not support leaves its field out. */
export const gpuSchema = z
  .object({
    index: z.int().nonnegative(),
    name: z.string().max(100),
    uuid: z.string().max(100),
    /** Part of the last 15 s in which any kernel ran, 0 to 1. */
    utilization: z.number().min(0).max(1).optional(),
    memoryUsedBytes: z.int().nonnegative().optional(),
    memoryTotalBytes: z.int().nonnegative().optional(),
    temperatureCelsius: z.number().optional(),
    powerWatts: z.number().nonnegative().optional(),
    /** Slowed down by heat or power. */
    isThrottled: z.boolean().optional(),
  })
  .meta({ title: 'Gpu' })
export type Gpu = z.infer<typeof gpuSchema>

/** The stages of a cold start, in order; `wake` is the provider's. */
export const startStages = ['wake', 'spawn', 'weights', 'engine', 'calibrate', 'total'] as const

/** How long one stage of a start took, or has taken so far. */
export const startStageSchema = z
  .object({ stage: z.enum(startStages), seconds: z.number().nonnegative() })
  .meta({ title: 'StartStage' })
export type StartStage = z.infer<typeof startStageSchema>

/** What a worker is loading, and how much of it is done. */
export const loadingSchema = z
  .object({ part: z.string().min(1).max(100), percent: z.number().min(0).max(100) })
  .meta({ title: 'Loading' })
export type Loading = z.infer<typeof loadingSchema>

/** What a worker did from its start to its end. */
export const workerCountsSchema = z
  .object({
    jobs: z.int().nonnegative(),
    busySeconds: z.number().nonnegative(),
    loadingSeconds: z.number().nonnegative(),
    idleSeconds: z.number().nonnegative(),
  })
  .meta({ title: 'WorkerCounts' })
export type WorkerCounts = z.infer<typeof workerCountsSchema>

/** Worker → everyone: the heartbeat, which is registry, liveness and progress in one. */
export const beatSchema = z.object({
  workerId: z.string().min(1).max(100),
  /** Changes with each start of the worker. */
  incarnation: z.string().min(1).max(100),
  engine: z.string().min(1).max(64),
  /** What is installed there, where its operator has said so. */
  release: z.string().min(1).max(100).optional(),
  /** Absent until the engine is loaded. */
  engineFacts: engineFactsSchema.optional(),
  /** `gone` is the last word of an orderly end. */
  state: z.enum(['loading', 'ready', 'rendering', 'draining', 'gone']),
  /** Why the engine did not load the last time; absent while nothing is wrong with it. */
  trouble: z.string().min(1).max(500).optional(),
  /** Null until the engine is loaded and calibrated. */
  secondsPerVideoSecond: z.number().nullable(),
  /** Workers of an earlier version leave out these four. */
  pool: poolSchema.optional(),
  paceKey: paceKeySchema.optional(),
  /** What it can do, once its engine is loaded. */
  offers: offersSchema.optional(),
  time: workerTimeSchema.optional(),
  /** Since its engine is loaded or its last job is over; absent otherwise, and in earlier versions. */
  idleSeconds: z.number().nonnegative().optional(),
  /** The wake-up that it works for. */
  wakeId: wakeIdSchema.optional(),
  /** While it loads, as far as its engine can tell. */
  loading: loadingSchema.optional(),
  /** Told with `gone`, by a worker with a wake-up. */
  counts: workerCountsSchema.optional(),
  /** Where the driver tells any. */
  gpus: z.array(gpuSchema).max(16).optional(),
  /** How the current render process started; absent until it is loaded. */
  startup: z.array(startStageSchema).max(startStages.length).optional(),
  /** The stage that a start has reached; absent once it is loaded. */
  starting: startStageSchema.optional(),
  /** Free part of the disk of `SPOOL_DIR`, 0 to 1. */
  diskFree: z.number().min(0).max(1).optional(),
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
