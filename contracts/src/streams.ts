import type { EventType } from './events.ts'
import { limits } from './limits.ts'
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
  /** Room that a new job may not use: it is for what the jobs accepted before still publish. */
  readonly reserveBytes?: number
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
    // The oldest fact may be one that nobody has handled yet: a full stream must not drop it.
    discard: 'new',
    maxAgeMs: 14 * day,
    maxBytes: 10 * gibibyte,
    maxMessageBytes: limits.messageMaxBytes,
    // About 10 KB for each of 100,000 unfinished jobs.
    reserveBytes: gibibyte,
    duplicateWindowMs: 120_000,
    why: 'Facts: for the orchestrator, the storage stage, SSE and audit. A full stream refuses.',
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
  LEDGER: {
    name: 'LEDGER',
    subjects: ['ledger.>'],
    retention: 'limits',
    discard: 'old',
    // The latest posting of a subject counts; that of a job is written as the first of its subject.
    maxMessagesPerSubject: 1,
    maxAgeMs: 400 * day,
    duplicateWindowMs: 120_000,
    why: 'What each job, worker and provider cost, for 13 months.',
  },
} as const satisfies Record<string, StreamSpec>

/** Streams of earlier versions, which provisioning deletes: every job that waits has its record. */
export const retiredStreams = ['GPU'] as const

type StreamName = keyof typeof streams

/** One key-value bucket. */
export type BucketSpec = {
  readonly name: string
  readonly history: number
  readonly maxValueBytes: number
  /** How long a delete marker stays; values with a time to live need one. */
  readonly markerTtlMs?: number
  /** In memory: lost when the broker restarts. */
  readonly inMemory?: boolean
  readonly maxAgeMs?: number
  readonly maxBytes?: number
  /** When the bucket is full: refuse the write, which is the default, or drop the oldest value. */
  readonly discard?: 'new' | 'old'
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
  limits: {
    name: 'limits',
    history: 5,
    maxValueBytes: 1024,
    markerTtlMs: hour,
    why: 'What the operator allows an owner instead of the defaults.',
  },
  rate: {
    name: 'rate',
    history: 1,
    maxValueBytes: 128,
    inMemory: true,
    maxAgeMs: hour / 4,
    maxBytes: 64 * 2 ** 20,
    // A flood of addresses must not keep the others from being counted.
    discard: 'old',
    why: 'How fast each owner and address asks. Its loss costs one burst.',
  },
  pace: {
    name: 'pace',
    history: 1,
    maxValueBytes: 1024,
    markerTtlMs: hour,
    why: 'The learned speed of engines, and the time a pool takes to start.',
  },
  meta: {
    name: 'meta',
    history: 5,
    maxValueBytes: 4096,
    markerTtlMs: hour,
    why: 'Which layout and release are installed, which orchestrator decides about workers, and what it decided.',
  },
  wake: {
    name: 'wake',
    history: 1,
    maxValueBytes: 2048,
    maxAgeMs: day,
    markerTtlMs: hour,
    why: 'The wake-up of each GPU worker of the last day.',
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
      // Events over their publisher's rate count while they wait: as few would stop the other publishers.
      maxAckPending: 20_000,
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
