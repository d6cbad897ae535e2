import { z } from 'zod'
import { failureCodes } from './failures.ts'
import {
  jobErrorSchema,
  jobIdSchema,
  ownerSchema,
  renderedSchema,
  timeMsSchema,
  usedSchema,
} from './job.ts'
import { limits } from './limits.ts'
import { text } from './text.ts'

/**
 * The fields of every event. `epoch` is the attempt it is about, 0 before the first. `revision` is the
 * record's KV revision at the time of publishing, 0 where the publisher does not know it. The trace
 * context travels in the `traceparent` header.
 */
const fact = {
  jobId: jobIdSchema,
  owner: ownerSchema,
  epoch: z.int().nonnegative(),
  revision: z.int().nonnegative(),
  atMs: timeMsSchema,
}

const workerFact = { ...fact, workerId: z.string() }

/**
 * Of an event that ends an attempt: its GPU time, as its worker tells it or, of a worker that fell silent,
 * as its last heartbeat did. Workers of an earlier version leave it out.
 */
const end = { used: usedSchema.optional() }

/** An object that is gone, and how large it was. */
export const removedObjectSchema = z
  .object({ key: z.string().max(1024), bytes: z.int().nonnegative() })
  .meta({ title: 'RemovedObject' })
export type RemovedObject = z.infer<typeof removedObjectSchema>

/** Every event by its type. An event is a fact in the past; its type is the middle of its subject. */
export const eventSchemas = {
  /** Ingest created the record. */
  'job.submitted': z.object({ type: z.literal('job.submitted'), ...fact }),
  /** The job waits for a worker. */
  'job.queued': z.object({ type: z.literal('job.queued'), ...fact }),
  /** The first denoising step of an attempt began. */
  'job.started': z.object({ type: z.literal('job.started'), ...fact }),
  /** Somebody asked to cancel the job; the handler of this event does it. */
  'job.cancel-requested': z.object({ type: z.literal('job.cancel-requested'), ...fact }),
  /** The liveness watch gave up on the attempt. */
  'job.attempt-lost': z.object({ type: z.literal('job.attempt-lost'), ...fact, ...end }),
  /** A render is far past its deadline. */
  'job.overdue': z.object({ type: z.literal('job.overdue'), ...fact, ...end }),
  /** The job waited too long for a worker. */
  'job.queue-timeout': z.object({ type: z.literal('job.queue-timeout'), ...fact }),
  'job.completed': z.object({ type: z.literal('job.completed'), ...fact, result: renderedSchema }),
  'job.failed': z.object({ type: z.literal('job.failed'), ...fact, error: jobErrorSchema }),
  'job.cancelled': z.object({ type: z.literal('job.cancelled'), ...fact }),
  /** The janitor deleted the job's media. */
  'job.deleted': z.object({
    type: z.literal('job.deleted'),
    ...fact,
    /**
     * What it removed. A janitor that was killed in between leaves out what it had removed until then, and
     * an earlier version leaves out the list.
     */
    removed: z.array(removedObjectSchema).max(limits.deletedObjectsNamed).optional(),
  }),
  /** A worker began the first denoising step of this epoch. */
  'render.started': z.object({ type: z.literal('render.started'), ...workerFact }),
  /** The video is uploaded. */
  'render.completed': z.object({
    type: z.literal('render.completed'),
    ...workerFact,
    ...end,
    rendered: renderedSchema,
    /** From the first denoising step to the last frame; two renders of one worker show the gap between. */
    renderStartedAtMs: timeMsSchema,
    renderEndedAtMs: timeMsSchema,
  }),
  /** The attempt failed; the code's row in the failure table decides whether another may follow. */
  'render.failed': z.object({
    type: z.literal('render.failed'),
    ...workerFact,
    ...end,
    code: z.enum(failureCodes),
    message: text({ max: 1000 }),
  }),
  /** The worker handed the attempt back (SIGTERM). It counts as no failure. */
  'render.released': z.object({ type: z.literal('render.released'), ...workerFact, ...end }),
  /** The worker stopped the attempt because the job is being cancelled. */
  'render.cancelled': z.object({ type: z.literal('render.cancelled'), ...workerFact, ...end }),
} as const

export type EventType = keyof typeof eventSchemas

export type EventOf<T extends EventType> = z.infer<(typeof eventSchemas)[T]>
export type AnyEvent = { [T in EventType]: EventOf<T> }[EventType]

/** One schema that accepts an event of any of these types. */
export function anyEventOf<T extends EventType>(types: readonly T[]): z.ZodType<EventOf<T>> {
  const [first, ...others] = types.map((type) => eventSchemas[type])
  // TypeScript cannot tell which schemas a list of types selects.
  return z.discriminatedUnion('type', [first, ...others] as never) as never
}

/** The events that a client may see, in the order of a smooth life. */
export const publicEventTypes = [
  'job.submitted',
  'job.queued',
  'job.started',
  'job.cancel-requested',
  'job.completed',
  'job.failed',
  'job.cancelled',
] as const satisfies readonly EventType[]

/** The `Nats-Msg-Id` of an event: a stream stores the same fact about the same attempt once per duplicate window. */
export function eventId(event: Pick<AnyEvent, 'type' | 'jobId' | 'epoch'>): string {
  return `${event.jobId}:${event.type}:${event.epoch}`
}
