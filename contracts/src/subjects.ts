import type { EventType } from './events.ts'

/** Every subject of the system. Lower case, dotted, general to specific. */
export const subjects = {
  event: (type: EventType, jobId: string) => `evt.${type}.${jobId}`,
  /** All events of one job, in the order of the stream. */
  eventsOfJob: (jobId: string) => `evt.*.*.${jobId}`,
  /** All events of jobs; those of their renders are not among them. */
  anyJobEvent: 'evt.job.*.*',
  scheduledDeletion: (jobId: string) => `sched.delete.${jobId}`,
  dueDeletion: (jobId: string) => `due.delete.${jobId}`,
  notify: (publisher: string, state: string) => `notify.${publisher}.job.${state}`,
  deadLetter: (stream: string, consumer: string) => `dlq.${stream.toLowerCase()}.${consumer}`,
  /**
   * A worker asks on the subject of its pool: the broker lets a pool's user publish there alone, and tells
   * the receiver nothing else of who asks.
   */
  next: (pool: string) => `ctl.request.next.${pool}`,
  claim: (pool: string) => `ctl.request.claim.${pool}`,
  store: (pool: string) => `ctl.request.store.${pool}`,
  hello: (pool: string) => `ctl.request.hello.${pool}`,
  cancel: 'ctl.request.cancel',
  /** The posting of an ended job, by the day of its end, such as `2026-11-29`. */
  jobPosting: (day: string, owner: string, jobId: string) =>
    `ledger.job.${dayTokens(day)}.${owner}.${jobId}`,
  /** What one incarnation of a worker has spent so far, by the day. */
  workerPosting: (day: string, workerId: string, incarnation: string) =>
    `ledger.worker.${dayTokens(day)}.${workerId}.${incarnation}`,
  /** What the provider charged for a pool on a day. */
  billPosting: (day: string, pool: string) => `ledger.bill.${dayTokens(day)}.${pool}`,
  /** The broker answers with its own health: whether each stream can be written. */
  brokerHealth: 'broker.health',
  /** The spans of a worker, as OTLP/JSON on core NATS: a GPU machine holds no collector's address. */
  spans: (workerId: string) => `telemetry.spans.${workerId}`,
  beat: (workerId: string) => `beat.${workerId}`,
  stop: (workerId: string) => `ctl.stop.${workerId}`,
  drain: (workerId: string) => `ctl.drain.${workerId}`,
} as const

/** A day as two tokens, month and day: `2026-11.29`. */
function dayTokens(day: string): string {
  return `${day.slice(0, 7)}.${day.slice(8)}`
}

/** The pool on whose subject a worker asks. */
export function poolOfSubject(subject: string): string | undefined {
  return /^ctl\.request\.(?:next|claim|store|hello)\.([a-z][a-z0-9-]{0,31})$/.exec(subject)?.[1]
}

/** The publisher, which is the second token of the subject and never a field of the body. */
export function publisherOfSubject(subject: string): string | undefined {
  return /^intake\.([a-z][a-z0-9-]{1,31})\.job\.submitted$/.exec(subject)?.[1]
}
