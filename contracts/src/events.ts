import { z } from 'zod'
import { failureCodes } from './failures.ts'
import { jobErrorSchema, jobIdSchema, ownerSchema, renderedSchema, timeMsSchema } from './job.ts'
import { text } from './text.ts'

/**
 * What every event names. `epoch` is the attempt it speaks of (0 before the first), `revision` the
 * record's revision in the KV when it was published, 0 where the publisher does not know it.
 * The trace context travels in the `traceparent` header.
 */
const fact = {
  jobId: jobIdSchema,
  owner: ownerSchema,
  epoch: z.int().nonnegative(),
  revision: z.int().nonnegative(),
  atMs: timeMsSchema,
}

const workerFact = { ...fact, workerId: z.string() }

/** Every event by its type. Events are facts in the past; the type is the middle of the subject. */
export const eventSchemas = {
  /** Ingest created a record. */
  'job.submitted': z.object({ type: z.literal('job.submitted'), ...fact }),
  /** The job waits for a worker; its queue entry is published. */
  'job.queued': z.object({ type: z.literal('job.queued'), ...fact }),
  /** The first forward of an attempt began. */
  'job.started': z.object({ type: z.literal('job.started'), ...fact }),
  /** Somebody asked for cancellation; the handler acts. */
  'job.cancel-requested': z.object({ type: z.literal('job.cancel-requested'), ...fact }),
  /** The liveness watch gave the attempt up. */
  'job.attempt-lost': z.object({ type: z.literal('job.attempt-lost'), ...fact }),
  /** A running child is far past its deadline. */
  'job.overdue': z.object({ type: z.literal('job.overdue'), ...fact }),
  /** The job waited too long for a worker. */
  'job.queue-timeout': z.object({ type: z.literal('job.queue-timeout'), ...fact }),
  'job.completed': z.object({ type: z.literal('job.completed'), ...fact, result: renderedSchema }),
  'job.failed': z.object({ type: z.literal('job.failed'), ...fact, error: jobErrorSchema }),
  'job.cancelled': z.object({ type: z.literal('job.cancelled'), ...fact }),
  /** The janitor deleted the job's media. */
  'job.deleted': z.object({ type: z.literal('job.deleted'), ...fact }),
  /** A worker's first forward of this epoch began. */
  'render.started': z.object({ type: z.literal('render.started'), ...workerFact }),
  /** The video is uploaded. */
  'render.completed': z.object({
    type: z.literal('render.completed'),
    ...workerFact,
    rendered: renderedSchema,
    /** From the first forward to the last frame; two renders of one worker tell the gap between them. */
    renderStartedAtMs: timeMsSchema,
    renderEndedAtMs: timeMsSchema,
  }),
  /** The attempt failed; the code's outcome in the table decides whether another may follow. */
  'render.failed': z.object({
    type: z.literal('render.failed'),
    ...workerFact,
    code: z.enum(failureCodes),
    message: text({ max: 1000 }),
  }),
  /** The worker hands the attempt back, nothing counted (SIGTERM). */
  'render.released': z.object({ type: z.literal('render.released'), ...workerFact }),
  /** The worker stopped the attempt because it was told to. */
  'render.cancelled': z.object({ type: z.literal('render.cancelled'), ...workerFact }),
} as const

export type EventType = keyof typeof eventSchemas
export const eventTypes = Object.keys(eventSchemas) as [EventType, ...EventType[]]

export type EventOf<T extends EventType> = z.infer<(typeof eventSchemas)[T]>
export type AnyEvent = { [T in EventType]: EventOf<T> }[EventType]

/** One schema for any event of these types. */
export function anyEventOf<T extends EventType>(types: readonly T[]): z.ZodType<EventOf<T>> {
  const [first, ...others] = types.map((type) => eventSchemas[type])
  // TypeScript cannot follow which schemas a list of types selects.
  return z.discriminatedUnion('type', [first, ...others] as never) as never
}

/** The events that a client may see, and the order in which a smooth job tells them. */
export const publicEventTypes = [
  'job.submitted',
  'job.queued',
  'job.started',
  'job.cancel-requested',
  'job.completed',
  'job.failed',
  'job.cancelled',
] as const satisfies readonly EventType[]

/** The `Nats-Msg-Id` of an event: the same fact of the same attempt is stored once per window. */
export function eventId(event: Pick<AnyEvent, 'type' | 'jobId' | 'epoch'>): string {
  return `${event.jobId}:${event.type}:${event.epoch}`
}
