import { z } from 'zod'
import { failureCodes } from './failures.ts'
import { limits } from './limits.ts'
import { qualitySchema, renderOptionsSchema } from './render-options.ts'
import { text } from './text.ts'

/**
 * Who a job belongs to: `o_…`, the stable id behind an API key, which survives rotation; or the name
 * of a publisher, which has no underscore.
 */
export const ownerSchema = z.string().regex(/^(o_[0-9A-Za-z]{12}|[a-z][a-z0-9-]{1,31})$/)

export const jobIdSchema = z.uuid()
export const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/)

/** Milliseconds since 1970, UTC. */
export const timeMsSchema = z.int().nonnegative()

/** W3C trace context, version 00. */
export const traceparentSchema = z.string().regex(/^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/)

export const sizeSchema = z
  .object({ width: z.int().positive(), height: z.int().positive() })
  .meta({ title: 'FrameSize' })
export type Size = z.infer<typeof sizeSchema>

/** Every state of a job's record, in the order in which a job passes through them. */
export const jobStates = [
  'pending',
  'queued',
  'claimed',
  'rendering',
  'storing',
  'cancelling',
  'completed',
  'failed',
  'cancelled',
] as const
export const jobStateSchema = z.enum(jobStates)
export type JobState = z.infer<typeof jobStateSchema>

/** `high` goes before the owner's own `normal` jobs, and a little ahead of its share. */
export const priorities = ['high', 'normal'] as const
export const prioritySchema = z.enum(priorities)
export type Priority = z.infer<typeof prioritySchema>

/** The name of a group of workers that cost the same. */
export const poolSchema = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/)

/** States that a job never leaves. */
export const terminalStates: ReadonlySet<JobState> = new Set(['completed', 'failed', 'cancelled'])

/** States in which a worker has the attempt: only then do a worker's events and requests count. */
const openStates: ReadonlySet<JobState> = new Set(['claimed', 'rendering', 'storing', 'cancelling'])

export const jobErrorSchema = z.object({ code: z.enum(failureCodes), message: z.string() })

/** A doubt about an accepted input: what was found, what was done about it, and how to get a better video. */
export const warningSchema = z.object({
  code: z.string().max(40),
  message: text({ max: limits.warningMaxCharacters }),
})
export type Warning = z.infer<typeof warningSchema>

/** What a loaded engine runs on and with. */
export const engineFactsSchema = z
  .object({
    device: z.string().max(100),
    precision: z.string().max(100),
    attentionBackend: z.string().max(100),
    /** The peak of device memory in use since the engine was loaded. */
    peakMemoryBytes: z.int().nonnegative(),
    /** Whatever else affects pixels or speed, in the engine's own words. */
    details: z.record(z.string(), z.string().max(200)),
  })
  .meta({ title: 'EngineFacts' })
export type EngineFacts = z.infer<typeof engineFactsSchema>

/** How a model of diffusion made a video. */
export const samplingSchema = z
  .object({
    /** The tier that was rendered: weights that have one tier render every quality in it. */
    quality: qualitySchema,
    /** The weights' own way to be sampled, by name. */
    recipe: z.string().max(64),
    /** Denoising steps of a chunk, and forwards of the transformer in them. */
    steps: z.int().positive(),
    forwards: z.int().positive(),
  })
  .meta({ title: 'Sampling' })
export type Sampling = z.infer<typeof samplingSchema>

/** What a worker reports about the video it rendered; the result shows all of it. */
export const renderedSchema = z
  .object({
    key: z.string(),
    bytes: z.int().positive(),
    sha256: sha256Schema,
    width: z.int().positive(),
    height: z.int().positive(),
    frames: z.int().positive(),
    fps: z.int().positive(),
    videoSeconds: z.number().positive(),
    /** The engine that rendered it: `infinitetalk`, `preview` or `null`. */
    engine: z.string().max(64),
    /** Workers of an earlier version leave it out. */
    engineFacts: engineFactsSchema.optional(),
    /** The size that the engine generated, before it was scaled to the delivery size. */
    generation: sizeSchema,
    /** Of an engine that samples. */
    sampling: samplingSchema.optional(),
    /** Rendered at a smaller size because memory ran out. */
    degraded: z.boolean(),
    /** True where an interrupted render had made some of it. Workers of an earlier version leave it out. */
    resumed: z.boolean().optional(),
    renderSeconds: z.number().nonnegative(),
    /** Of the engine, about the inputs; absent without any. */
    warnings: z.array(warningSchema).max(limits.warningsPerJob).optional(),
    /** What the engine measured in the frames: the worst of all chunks, by name. Absent without any. */
    checks: z.record(z.string().max(40), z.number()).optional(),
  })
  .meta({ title: 'Rendered' })
export type Rendered = z.infer<typeof renderedSchema>

/** The GPU time of one attempt, and what it was used for. */
export const usedSchema = z
  .object({
    /** From the order to the render process until it is done or dead, by the worker's clock. */
    gpuSeconds: z.number().nonnegative(),
    /** The engine's name for the size it rendered, such as `720p`; absent before it chose one. */
    size: z.string().max(32).optional(),
    engine: z.string().max(64).optional(),
    device: z.string().max(100).optional(),
    /** Frames that the engine renders at once. */
    framesPerChunk: z.int().positive().optional(),
    /** The worker's calibration. */
    secondsPerVideoSecond: z.number().positive().optional(),
    /** An earlier process had rendered some of it: its time says nothing about the engine's speed. */
    isResumed: z.boolean().optional(),
  })
  .meta({ title: 'Used' })
export type Used = z.infer<typeof usedSchema>

/** How an attempt can end. */
export const attemptEnds = [
  'completed',
  'refused',
  'failed',
  'released',
  'cancelled',
  'lost',
  'overdue',
] as const

/** One attempt as it is booked: by its epoch, so exactly once. */
export const spentSchema = z.object({
  epoch: z.int().nonnegative(),
  pool: poolSchema,
  gpuSeconds: z.number().nonnegative(),
  /** The price of these seconds, in millionths of the currency. */
  micros: z.int().nonnegative(),
  end: z.enum(attemptEnds),
  /** False for the time of a worker that fell silent: its last heartbeat told it. */
  isMeasured: z.boolean(),
  /** Charged to the owner; all else is ours. */
  isCharged: z.boolean(),
})
export type Spent = z.infer<typeof spentSchema>

/**
 * A job's turn in the fair order, taken by its first claim and kept by the later ones: where it starts
 * on the scale of GPU seconds per share, and its GPU seconds, which are estimated until the job ends.
 */
export const turnSchema = z.object({
  start: z.number().nonnegative(),
  seconds: z.number().nonnegative(),
  /** What was estimated when it was taken, and when that was. Absent before, and in older records. */
  estimatedSeconds: z.number().nonnegative().optional(),
  takenAtMs: timeMsSchema.optional(),
})
export type Turn = z.infer<typeof turnSchema>

const inputSchema = z.object({
  key: z.string(),
  bytes: z.int().positive(),
  sha256: sha256Schema,
})

/**
 * The record of a job: KV `job`, key `<owner>.<jobId>`. Ingest creates it; only the orchestrator
 * changes it, by compare-and-set. A job exists as soon as its record does.
 */
export const jobRecordSchema = z.object({
  jobId: jobIdSchema,
  owner: ownerSchema,
  door: z.enum(['rest', 'event']),
  /** SHA-256 over the inputs and fields exactly as the client sent them. */
  fingerprint: sha256Schema,
  /** Names the admission that created the record, so that it recognises its own after a lost reply. */
  nonce: z.string().regex(/^[0-9a-f]{16}$/),
  state: jobStateSchema,
  /** Grows by one with each claim; a worker's messages count only under the current epoch. */
  epoch: z.int().nonnegative(),

  image: inputSchema.extend(sizeSchema.shape),
  /** What is delivered. */
  audio: inputSchema.extend({ seconds: z.number().positive() }),
  /** What drives the lips, where that is anything but `audio` from its start: the first speaker's first. */
  voices: z
    .array(inputSchema.extend({ startSeconds: z.number().nonnegative() }))
    .min(1)
    .max(2)
    .optional(),
  /** The video that is dubbed; `image` is its first frame. */
  source: inputSchema.extend({ ...sizeSchema.shape, seconds: z.number().positive() }).optional(),
  prompt: text({ max: limits.promptMaxCharacters }),
  seed: z.int().min(0).max(limits.seedMax),
  /** Frames of the video: round(25 × audio seconds). */
  frames: z.int().positive(),
  delivery: sizeSchema,
  /** Absent where nothing was asked for, and in records of an earlier version. */
  how: renderOptionsSchema.optional(),
  /** Of the submission; absent without any. */
  warnings: z.array(warningSchema).max(limits.warningsPerJob).optional(),
  /** A publisher's own name for its submission; its notifications repeat it. */
  reference: text({ max: limits.referenceMaxCharacters }).optional(),
  /** Absent in records of an earlier version, which are `normal`. */
  priority: prioritySchema.optional(),
  traceparent: traceparentSchema,

  createdAtMs: timeMsSchema,
  queuedAtMs: timeMsSchema.optional(),
  /** Of the open attempt. Records of an earlier version lack it. */
  claimedAtMs: timeMsSchema.optional(),
  startedAtMs: timeMsSchema.optional(),
  finishedAtMs: timeMsSchema.optional(),
  /** When inputs and output are deleted. */
  expiresAtMs: timeMsSchema.optional(),
  deletedAtMs: timeMsSchema.optional(),
  estimatedSeconds: z.number().nonnegative(),
  deadlineSeconds: z.number().positive(),

  /** How many attempts ended in each way; see `attemptLimits`. */
  failures: z.int().nonnegative(),
  deaths: z.int().nonnegative(),
  losses: z.int().nonnegative(),
  notBeforeMs: timeMsSchema.optional(),
  turn: turnSchema.optional(),
  worker: z
    .object({
      id: z.string(),
      incarnation: z.string(),
      /** The worker's name for the request that brought it the job. */
      ask: z.string().optional(),
      pool: poolSchema.optional(),
      /** Of one GPU second at the time of the claim. */
      priceMicros: z.int().nonnegative().optional(),
    })
    .optional(),
  /** The ended attempts, oldest first. */
  spent: z.array(spentSchema).max(limits.attemptsBooked).optional(),
  /** What the client was told first. */
  told: z.object({ renderSeconds: z.number(), completesAtMs: timeMsSchema.optional() }).optional(),
  /** Noted from `render.completed`, before the upload is verified. From then on nothing is rendered again. */
  uploaded: renderedSchema.optional(),
  /** The GPU time of that attempt, noted with `uploaded` and booked once it is settled. */
  used: usedSchema.optional(),
  result: renderedSchema.optional(),
  error: jobErrorSchema.optional(),
})
export type JobRecord = z.infer<typeof jobRecordSchema>

/** The key of a record in KV `job`. A look-up by another owner misses, which clients see as 404. */
export function jobKey(owner: string, jobId: string): string {
  return `${owner}.${jobId}`
}

/** Whether a worker has an attempt of the job. */
export function hasOpenAttempt(job: Pick<JobRecord, 'state'>): boolean {
  return openStates.has(job.state)
}

/** Whether the job has ended. */
export function isTerminal(job: Pick<JobRecord, 'state'>): boolean {
  return terminalStates.has(job.state)
}
