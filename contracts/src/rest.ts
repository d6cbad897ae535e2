import { z } from 'zod'
import { failureCodes } from './failures.ts'
import { jobIdSchema, sha256Schema } from './job.ts'

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

const instant = z.iso.datetime().describe('ISO 8601, UTC')

const warningSchema = z.object({ code: z.string(), message: z.string() })
export type Warning = z.infer<typeof warningSchema>

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

/** `POST /generate` */
export const acceptedSchema = z.object({
  job_id: jobIdSchema,
  status: statusSchema,
  audio_seconds: z.number(),
  estimated_seconds: z.number().describe('of rendering, without the wait in the queue'),
  links: linksSchema,
})

/** `GET /status/{job_id}`; also an item of `GET /jobs`, and the body of SSE events. */
export const statusViewSchema = z.object({
  job_id: jobIdSchema,
  status: statusSchema,
  stage: stageSchema,
  progress: z.number().min(0).max(100),
  queue_position: z.int().positive().nullable().describe('1 is next; null when not queued'),
  attempt: z.int().nonnegative().describe('0 before the first'),
  audio_seconds: z.number(),
  estimated_seconds: z.number(),
  estimated_completion_at: instant.nullable(),
  deadline_seconds: z.number(),
  created_at: instant,
  queued_at: instant.nullable(),
  started_at: instant.nullable(),
  finished_at: instant.nullable(),
  expires_at: instant.nullable().describe('when the media are deleted'),
  deleted_at: instant.nullable(),
  error: z.object({ code: z.enum(failureCodes), message: z.string() }).nullable(),
  trace_id: z.string(),
  links: linksSchema,
})
export type StatusView = z.infer<typeof statusViewSchema>

/** `GET /result/{job_id}` */
export const resultViewSchema = z.object({
  job_id: jobIdSchema,
  url: z.url().describe('presigned, good for a few minutes; ask again for a fresh one'),
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
  degraded: z.boolean().describe('rendered smaller than asked because memory ran out'),
  render_seconds: z.number(),
})
export type ResultView = z.infer<typeof resultViewSchema>

/** `POST /cancel/{job_id}` */
export const cancelViewSchema = z.object({ job_id: jobIdSchema, status: z.literal('cancelling') })

/** `GET /jobs` */
export const jobsPageSchema = z.object({
  jobs: z.array(statusViewSchema),
  next_cursor: z.string().nullable(),
})

/** `GET /health` */
export const healthSchema = z.object({
  status: z.enum(['ok', 'unavailable', 'draining']),
  nats: z.enum(['ok', 'unavailable']),
  storage: z.enum(['ok', 'unavailable']),
  workers: z.array(
    z.object({
      engine: z.string(),
      state: z.enum(['loading', 'ready', 'rendering', 'draining']),
      seen_seconds_ago: z.number(),
    }),
  ),
  queue_depth: z.int().nonnegative(),
  full_streams: z.array(z.string()).describe('streams of the broker that take no more messages'),
})
export type HealthView = z.infer<typeof healthSchema>
