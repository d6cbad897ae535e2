import { z } from 'zod'
import { failureCodes } from './failures.ts'
import { jobIdSchema, prioritySchema, sha256Schema, warningSchema } from './job.ts'
import { offersSchema } from './offers.ts'
import {
  faceBoxSchema,
  faceNumberSchema,
  qualitySchema,
  renderOptionsSchema,
} from './render-options.ts'
import { providerSchema, scaleReasonSchema, wakeStateSchema } from './wakes.ts'

/** What clients see of a job's state. */
const statusSchema = z.enum(['pending', 'processing', 'completed', 'failed', 'cancelled'])
export type Status = z.infer<typeof statusSchema>

const stageSchema = z.enum([
  'accepted',
  'queued',
  'waiting_for_worker',
  'fetching',
  'rendering',
  'storing',
  'cancelling',
  'completed',
  'failed',
  'cancelled',
])
export type Stage = z.infer<typeof stageSchema>

const waitingForSchema = z.enum(['turn', 'worker', 'own_jobs', 'budget'])

/** Why no worker comes, as clients are told. */
export const workerReasons = [
  'no_capacity',
  'provider_away',
  'budget_reached',
  'no_worker_configured',
] as const

const instant = z.iso.datetime().describe('ISO 8601, UTC')

const metaSchema = z.object({
  request_id: z.string(),
  warnings: z.array(warningSchema).optional(),
})

/** The envelope of every failed call. */
export const errorEnvelopeSchema = z.object({
  error: z.object({
    code: z.enum(failureCodes),
    message: z.string().describe('what to do about it'),
    details: z.record(z.string(), z.unknown()),
  }),
  meta: metaSchema,
})
export type ErrorEnvelope = z.infer<typeof errorEnvelopeSchema>

/** The envelope of a successful call. */
export function envelopeOf<T extends z.ZodType>(data: T) {
  return z.object({ data, meta: metaSchema })
}

const linksSchema = z.object({
  status: z.string(),
  result: z.string(),
  events: z.string(),
  cancel: z.string(),
})

const amount = z
  .string()
  .regex(/^-?\d+\.\d{2,6}$/)
  .describe('decimal, in `currency`')
const currency = z.string().describe('ISO 4217')

const costSchema = z
  .object({
    gpu_seconds: z.number().nonnegative().describe('that are charged'),
    amount,
    currency,
    is_final: z.boolean().describe('false until the job has ended'),
  })
  .nullable()
  .describe('what you are charged for the job; null where no prices are configured')
export type CostView = z.infer<typeof costSchema>

const workerViewSchema = z
  .object({
    state: z
      .enum(['none', 'requested', 'starting', 'loading', 'ready'])
      .describe('`requested`: of the provider; `starting`: it is there; `loading`: its engine'),
    since: instant.describe('since when'),
    percent: z.number().min(0).max(100).optional().describe('how much of the engine is loaded'),
    expected_ready_at: instant.nullable().describe('null while nobody knows'),
    reason: z
      .enum(workerReasons)
      .optional()
      .describe(
        '`no_capacity`: the provider has no GPU free; `provider_away`: it does not answer, or refuses; ' +
          "`budget_reached`: the service's; `no_worker_configured`: its operator starts workers by hand",
      ),
    until: instant.optional().describe('when the reason ends, where that is known'),
  })
  .nullable()
  .describe('the worker that the job waits for; null while it waits for none')
export type WorkerView = z.infer<typeof workerViewSchema>

const { leadSeconds, tailSeconds, videoLength, videoEnd, ...sameWords } = renderOptionsSchema.shape

/** Without the title that the box has elsewhere: generators of clients name a model by it, and stop at the second. */
const boxViewSchema = z.object(faceBoxSchema.shape)

/** What a submission asked for beyond its media; what it did not ask for is left out. */
const optionsViewSchema = z.object({
  ...sameWords,
  speaker: z.union([faceNumberSchema, boxViewSchema]).optional(),
  speakers: z.array(boxViewSchema).length(2).optional(),
  lead_seconds: leadSeconds,
  tail_seconds: tailSeconds,
  video_length: videoLength,
  video_end: videoEnd,
})

/** `POST /generate` */
export const acceptedSchema = z.object({
  job_id: jobIdSchema,
  status: statusSchema,
  audio_seconds: z.number(),
  estimated_seconds: z.number().describe('of rendering, without the wait in the queue'),
  estimated_completion_at: instant
    .nullable()
    .describe('null while no worker takes jobs, and while your budget is spent'),
  estimated_cost: z
    .object({ amount, currency })
    .nullable()
    .describe('of these seconds at the highest price; null where no prices are configured'),
  links: linksSchema,
})

/** `GET /status/{job_id}`; also an item of `GET /jobs`, and the body of SSE events. */
export const statusViewSchema = z.object({
  job_id: jobIdSchema,
  status: statusSchema,
  stage: stageSchema,
  progress: z.number().min(0).max(100),
  queue_position: z
    .int()
    .positive()
    .nullable()
    .describe('1 is next; null when not queued, or when none of your jobs may start now'),
  waiting_for: waitingForSchema
    .nullable()
    .describe(
      '`turn`: the jobs ahead; `worker`: none is there; `own_jobs`: as many of yours render as may ' +
        'at once; `budget`: yours is spent; null when not waiting',
    ),
  worker: workerViewSchema,
  priority: prioritySchema.describe('`high` goes before your own `normal` jobs'),
  attempt: z.int().nonnegative().describe('0 before the first'),
  audio_seconds: z.number(),
  estimated_seconds: z.number(),
  estimated_completion_at: instant
    .nullable()
    .describe('null as in the answer of `POST /generate`, and while the job is being cancelled'),
  deadline_seconds: z.number(),
  created_at: instant,
  queued_at: instant.nullable(),
  started_at: instant.nullable(),
  finished_at: instant.nullable(),
  expires_at: instant.nullable().describe('when the media are deleted'),
  deleted_at: instant.nullable(),
  error: z.object({ code: z.enum(failureCodes), message: z.string() }).nullable(),
  cost: costSchema,
  warnings: z.array(warningSchema).optional().describe('of the submission; absent without any'),
  options: optionsViewSchema
    .optional()
    .describe('what the submission asked for beyond its media; absent without any'),
  trace_id: z.string(),
  links: linksSchema,
})
export type StatusView = z.infer<typeof statusViewSchema>

/** `GET /result/{job_id}` */
export const resultViewSchema = z.object({
  job_id: jobIdSchema,
  url: z
    .url()
    .describe('presigned, plays in a browser; good for a few minutes, ask again for a fresh one'),
  download_url: z.url().describe('the same, but a browser saves it as a file'),
  head_url: z.url().describe('the same for HEAD requests: a presigned link has one method'),
  expires_at: instant.describe('when the video is deleted'),
  bytes: z.int(),
  sha256: sha256Schema,
  width: z.int(),
  height: z.int(),
  fps: z.int(),
  video_seconds: z.number(),
  engine: z.string().describe('`infinitetalk`, `preview` or `null`'),
  engine_facts: z
    .object({
      device: z.string(),
      precision: z.string(),
      attention_backend: z.string(),
      peak_memory_bytes: z.int(),
      details: z.record(z.string(), z.string()),
    })
    .nullable()
    .describe('what the engine ran on and with'),
  generation: z.object({ width: z.int(), height: z.int() }).describe('before scaling'),
  sampling: z
    .object({
      quality: qualitySchema.describe('the tier that was rendered: some weights have one alone'),
      recipe: z.string().describe('how the weights want to be sampled, by name'),
      steps: z.int().describe('denoising steps of a chunk'),
      forwards: z.int().describe('forwards of the transformer in them'),
    })
    .nullable()
    .describe('how the model made it; null of an engine that does not sample'),
  degraded: z.boolean().describe('rendered smaller than asked because memory ran out'),
  resumed: z.boolean().describe('a part is from a render that was interrupted'),
  render_seconds: z.number(),
  quality: qualitySchema,
  speakers: z.int().min(1).max(2),
  source: z.enum(['image', 'video']).describe('what the video was made from'),
  options: optionsViewSchema
    .optional()
    .describe('what the submission asked for beyond its media; absent without any'),
  warnings: z
    .array(warningSchema)
    .describe('of the engine: about the portrait or the voice, or what it left out'),
  checks: z
    .record(z.string(), z.number())
    .optional()
    .describe(
      'what the engine measured in the frames, the worst of all chunks; absent without any',
    ),
})
export type ResultView = z.infer<typeof resultViewSchema>

/** `POST /cancel/{job_id}` */
export const cancelViewSchema = z.object({ job_id: jobIdSchema, status: z.literal('cancelling') })

/** `POST /events/{job_id}/token` */
export const eventTokenSchema = z.object({
  token: z.string().describe('opens the events of this job alone'),
  expires_at: instant.describe('until when a stream may be opened'),
  url: z.string().describe('the event stream, with the token'),
})

/** `GET /jobs` */
export const jobsPageSchema = z.object({
  jobs: z.array(statusViewSchema),
  next_cursor: z.string().nullable(),
})

const rateSchema = z.object({
  per_minute: z.int(),
  burst: z.int(),
  used: z.int().nonnegative().describe('calls of the burst that are not regained yet'),
})

const noLimit = 'null for no limit'
const countSchema = z.object({ limit: z.int().nullable().describe(noLimit), used: z.int() })

/** A limit on what is charged in a period, and what counts against it. */
const periodOf = <T extends z.ZodType>(value: T) =>
  z.object({
    limit: value.nullable().describe(noLimit),
    used: value.describe('charged in this period'),
    committed: value.describe('expected of the unfinished jobs; it counts as used'),
    resets_at: instant.describe('when the next period begins'),
  })

/** `GET /usage` */
export const usageViewSchema = z.object({
  submits: rateSchema,
  reads: rateSchema.describe('of every other call, this one included'),
  unfinished_jobs: countSchema,
  renders: countSchema.describe('at the same time'),
  gpu_seconds_per_day: periodOf(z.number()),
  budget_per_day: periodOf(amount),
  budget_per_month: periodOf(amount),
  currency,
  share: z.int().describe('part of the GPU time, against the others who wait'),
})
export type UsageView = z.infer<typeof usageViewSchema>

const offersViewSchema = z.object({
  qualities: z.array(z.object({ quality: qualitySchema, seconds_per_video_second: z.number() })),
  speakers: offersSchema.shape.speakers,
  video: offersSchema.shape.video.describe('whether it dubs a source video'),
})
export type OffersView = z.infer<typeof offersViewSchema>

/** `GET /health` */
export const healthSchema = z.object({
  status: z
    .enum(['ok', 'degraded', 'unavailable', 'draining'])
    .describe('`degraded`: jobs are accepted and wait, because no worker can render them'),
  nats: z.enum(['ok', 'unavailable']),
  storage: z.enum(['ok', 'unavailable']),
  workers: z.array(
    z.object({
      engine: z.string(),
      state: z.enum(['loading', 'ready', 'rendering', 'draining']),
      seen_seconds_ago: z.number(),
      trouble: z.string().nullable().describe('why its engine does not load; null when it does'),
      offers: offersViewSchema
        .nullable()
        .describe('what it can do; null until its engine is loaded, and in earlier versions'),
      clock_ahead_seconds: z.number(),
    }),
  ),
  worker_trouble: z.string().nullable().describe('why no worker renders the jobs that wait'),
  queue_depth: z.int().nonnegative(),
  scale: z
    .object({
      provider: providerSchema.describe('what starts workers'),
      wanted: z.int().nonnegative().describe('how many workers there should be'),
      reason: scaleReasonSchema,
      wakes: z
        .record(wakeStateSchema, z.int().nonnegative())
        .describe('workers asked for within the last day, by what became of it'),
    })
    .nullable()
    .describe('how workers are started; null until the orchestrator has told'),
  full_streams: z
    .array(z.string())
    .describe('streams of the broker that have no room for another job'),
  problems: z
    .array(z.string())
    .describe('what is wrong, and what cures it; empty when all is well'),
  clock_ahead_seconds: z
    .number()
    .describe("how far this machine's clock is ahead of the broker's, whose time counts"),
})
export type HealthView = z.infer<typeof healthSchema>
