import type { EventType } from './events.ts'
import { limits } from './limits.ts'
import { workClass } from './subjects.ts'
import type { Timings } from './timings.ts'

const gibibyte = 2 ** 30
const hour = 3_600_000
const day = 24 * hour

/** One JetStream stream. Provisioning translates it into the server's configuration. */
export type StreamSpec = {
  readonly name: string
  readonly subjects: readonly string[]
  readonly retention: 'limits' | 'workqueue'
  /** When the stream is full: refuse the publish, or drop the oldest message. */
  readonly discard: 'new' | 'old'
  readonly maxMessagesPerSubject?: number
  readonly maxAgeMs?: number
  readonly maxBytes?: number
  readonly maxMessageBytes?: number
  readonly duplicateWindowMs: number
  readonly allowSchedules?: boolean
  readonly why: string
}

/** The streams, and why each is configured as it is. */
export const streams = {
  INTAKE: {
    name: 'INTAKE',
    subjects: ['intake.*.job.submitted'],
    retention: 'workqueue',
    discard: 'new',
    maxBytes: gibibyte,
    // Per publisher, so that none can use up the room of all.
    maxMessagesPerSubject: limits.waitingPerPublisher,
    maxMessageBytes: limits.messageMaxBytes,
    // The shortest that the server allows. All publishers share one namespace of message ids, so a
    // second publisher's event under the same id would be acknowledged and not stored.
    duplicateWindowMs: 100,
    why: 'The untrusted edge: a full stream is an error to the publisher, not a loss.',
  },
  EVENTS: {
    name: 'EVENTS',
    subjects: ['evt.>'],
    retention: 'limits',
    discard: 'old',
    maxAgeMs: 14 * day,
    maxBytes: 10 * gibibyte,
    maxMessageBytes: limits.messageMaxBytes,
    duplicateWindowMs: 120_000,
    why: 'Facts: for the orchestrator, the storage stage, SSE and audit.',
  },
  GPU: {
    name: 'GPU',
    subjects: ['gpu.work.>'],
    retention: 'workqueue',
    discard: 'new',
    maxMessagesPerSubject: 1,
    maxBytes: gibibyte,
    duplicateWindowMs: 120_000,
    why: 'At most one entry per job. No maximum age: a worker could lose the entry it works on.',
  },
  SCHED: {
    name: 'SCHED',
    subjects: ['sched.>', 'due.>'],
    retention: 'workqueue',
    discard: 'old',
    duplicateWindowMs: 120_000,
    allowSchedules: true,
    why: 'Deletion timers. No limits: any limit would drop timers silently.',
  },
  NOTIFY: {
    name: 'NOTIFY',
    subjects: ['notify.*.job.*'],
    retention: 'limits',
    discard: 'old',
    maxAgeMs: 7 * day,
    maxBytes: gibibyte,
    // The deletion of a job's media, hours after its end, publishes its notification again.
    duplicateWindowMs: 7 * day,
    why: 'What each publisher may read about its own jobs.',
  },
  DLQ: {
    name: 'DLQ',
    subjects: ['dlq.>'],
    retention: 'limits',
    discard: 'old',
    maxAgeMs: 30 * day,
    maxBytes: gibibyte,
    duplicateWindowMs: 120_000,
    why: 'Messages that nobody could handle, with payload and reason.',
  },
} as const satisfies Record<string, StreamSpec>

type StreamName = keyof typeof streams

/** One key-value bucket. */
export type BucketSpec = {
  readonly name: string
  readonly history: number
  readonly maxValueBytes: number
  /** How long a delete marker stays; values with a time to live need one. */
  readonly markerTtlMs: number
  readonly why: string
}

/** The buckets, and what each is for. */
export const buckets = {
  job: {
    name: 'job',
    history: 1,
    maxValueBytes: limits.recordMaxBytes,
    markerTtlMs: hour,
    why: 'The record of each job. Records of ended jobs have a time to live.',
  },
  apikey: {
    name: 'apikey',
    history: 5,
    maxValueBytes: 4096,
    markerTtlMs: hour,
    why: 'Hashed API keys and their owners.',
  },
} as const satisfies Record<string, BucketSpec>

/** How long the record of an ended job stays readable after its last write. */
export const terminalRecordTtlMs = 30 * day

/**
 * One durable pull consumer. `maxDeliver` is −1 on all of them, because a message past that limit is
 * never delivered again and yet blocks its subject. Our own code dead-letters what nobody can handle.
 */
export type ConsumerSpec = {
  readonly stream: StreamName
  readonly name: string
  readonly filters: readonly string[]
  readonly ackWaitMs: number
  readonly maxAckPending: number
}

/** The events that change a job's record, except `render.completed`, which has its own consumer. */
export const orchestratorEventTypes = [
  'job.submitted',
  'job.cancel-requested',
  'job.attempt-lost',
  'job.overdue',
  'job.queue-timeout',
  'job.deleted',
  'render.started',
  'render.failed',
  'render.released',
  'render.cancelled',
] as const satisfies readonly EventType[]

/** Every durable consumer, by the name of the service or stage that reads it. */
export function consumers(timings: Timings) {
  const events = (types: readonly EventType[]) => types.map((type) => `evt.${type}.*`)
  return {
    ingest: {
      stream: 'INTAKE',
      name: 'ingest',
      filters: ['intake.*.job.submitted'],
      ackWaitMs: timings.handlerAckWaitMs,
      maxAckPending: 64,
    },
    orchestrator: {
      stream: 'EVENTS',
      name: 'orchestrator',
      filters: events(orchestratorEventTypes),
      ackWaitMs: timings.handlerAckWaitMs,
      maxAckPending: 1000,
    },
    storage: {
      stream: 'EVENTS',
      name: 'storage',
      filters: events(['render.completed']),
      ackWaitMs: timings.handlerAckWaitMs,
      maxAckPending: 1000,
    },
    gpu: {
      stream: 'GPU',
      name: `${workClass.class}-${workClass.priority}`,
      filters: [`gpu.work.${workClass.class}.${workClass.priority}.*`],
      ackWaitMs: timings.gpuAckWaitMs,
      maxAckPending: 2000,
    },
    janitor: {
      stream: 'SCHED',
      name: 'janitor',
      filters: ['due.delete.*'],
      ackWaitMs: timings.handlerAckWaitMs,
      maxAckPending: 64,
    },
  } as const satisfies Record<string, ConsumerSpec>
}

/** The durable consumer by which a publisher reads its notifications, including those it missed. */
export function publisherConsumer(publisher: string, timings: Timings): ConsumerSpec {
  return {
    stream: 'NOTIFY',
    name: publisher,
    filters: [`notify.${publisher}.job.*`],
    ackWaitMs: timings.handlerAckWaitMs,
    maxAckPending: 1000,
  }
}
