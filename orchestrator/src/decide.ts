import {
  deadlineSecondsFor,
  type FailureCode,
  failures,
  hasOpenAttempt,
  isTerminal,
  type JobRecord,
  type JobState,
  type Rendered,
  type Timings,
} from '@avatar/contracts'
import { afterFailure, afterLoss, type Retry } from './retry.ts'

/** What reached the record. A message about an attempt carries its epoch. */
export type Message =
  | { kind: 'submitted' | 'cancel' | 'cancel-requested' | 'queue-timeout' | 'deleted' }
  | { kind: 'claim'; workerId: string; incarnation: string; secondsPerVideoSecond: number }
  | { kind: 'completed'; epoch: number; rendered: Rendered }
  | { kind: 'started' | 'store' | 'verified' | 'refused'; epoch: number }
  | EndOfAttempt

/** A worker, or the watch over the workers, ends the attempt. */
type EndOfAttempt =
  | { kind: 'failed'; epoch: number; code: FailureCode }
  | { kind: 'released' | 'cancelled' | 'attempt-lost' | 'overdue'; epoch: number }

/** How a request is answered. */
export type Answer =
  | { answer: 'render' | 'drop' | 'grant' | 'stop' | 'lost' | 'cancelling' | 'terminal' }
  | { answer: 'later'; delayMs: number }

/** The changed record, if it changes, and the answer, if the message is a request. */
type Decision = { job?: JobRecord; answer?: Answer }

/** What a decision depends on besides record and message. */
export type Rules = {
  nowMs: number
  retentionMs: number
  minDeadlineSeconds: number
  timings: Timings
}

const nothing: Decision = {}

/**
 * The whole state machine. It is pure: everything it needs is an argument. The contracts have it as a
 * table, `transitions`.
 *
 * A message that comes twice changes nothing the second time. Whoever handles an event publishes the
 * outputs of the state reached every time, because a crash may have come between write and publish.
 */
export function decide(job: JobRecord, message: Message, rules: Rules): Decision {
  if (isTerminal(job)) return decideTerminal(job, message, rules)
  if ('epoch' in message) {
    if (message.epoch === job.epoch && hasOpenAttempt(job))
      return decideAttempt(job, message, rules)
    return message.kind === 'store' ? { answer: { answer: 'lost' } } : nothing
  }
  switch (message.kind) {
    case 'submitted':
      return job.state === 'pending' ? { job: queued(job, {}, rules) } : nothing
    case 'claim':
      return decideClaim(job, message, rules)
    case 'cancel':
      return { answer: { answer: 'cancelling' } }
    case 'cancel-requested':
      if (job.state === 'cancelling') return nothing
      if (hasOpenAttempt(job)) return { job: { ...job, state: 'cancelling' } }
      return { job: finished(job, 'cancelled', rules) }
    case 'queue-timeout':
      return hasOpenAttempt(job) ? nothing : { job: failed(job, 'QUEUE_TIMEOUT', {}, rules) }
    case 'deleted':
      return nothing
  }
}

type AttemptMessage = Extract<Message, { epoch: number }>

function decideTerminal(job: JobRecord, message: Message, rules: Rules): Decision {
  switch (message.kind) {
    case 'claim':
    case 'store':
      return { answer: { answer: 'drop' } }
    case 'cancel':
      return { answer: { answer: 'terminal' } }
    case 'deleted':
      return job.deletedAtMs === undefined ? { job: { ...job, deletedAtMs: rules.nowMs } } : nothing
    default:
      return nothing
  }
}

function decideClaim(
  job: JobRecord,
  claim: Extract<Message, { kind: 'claim' }>,
  rules: Rules,
): Decision {
  if (job.state === 'queued') {
    const waitMs = (job.notBeforeMs ?? 0) - rules.nowMs
    if (waitMs > 0) return { answer: { answer: 'later', delayMs: Math.ceil(waitMs) } }
    const estimatedSeconds = job.audio.seconds * claim.secondsPerVideoSecond
    return {
      job: {
        ...job,
        state: 'claimed',
        epoch: job.epoch + 1,
        worker: { id: claim.workerId, incarnation: claim.incarnation },
        estimatedSeconds,
        deadlineSeconds: deadlineSecondsFor(estimatedSeconds, rules.minDeadlineSeconds),
      },
      answer: { answer: 'render' },
    }
  }
  const isRepeated =
    job.state === 'claimed' &&
    job.worker?.id === claim.workerId &&
    job.worker.incarnation === claim.incarnation
  if (isRepeated) return { answer: { answer: 'render' } }
  return { answer: { answer: 'later', delayMs: Math.ceil(rules.timings.laterNakMs) } }
}

/** The message is about the open attempt. */
function decideAttempt(job: JobRecord, message: AttemptMessage, rules: Rules): Decision {
  switch (message.kind) {
    case 'store':
      if (job.state === 'cancelling') return { answer: { answer: 'stop' } }
      return {
        ...(job.state === 'storing' ? {} : { job: { ...job, state: 'storing' } }),
        answer: { answer: 'grant' },
      }
    case 'started':
      if (job.state !== 'claimed') return nothing
      return { job: { ...job, state: 'rendering', startedAtMs: rules.nowMs } }
    case 'completed':
      if (job.uploaded) return nothing
      if (job.state === 'cancelling') return { job: finished(job, 'cancelled', rules) }
      return { job: { ...job, state: 'storing', uploaded: message.rendered } }
    case 'verified':
      if (!job.uploaded) return nothing
      return { job: { ...finished(job, 'completed', rules), result: job.uploaded } }
    case 'refused':
      if (!job.uploaded) return nothing
      if (job.state === 'cancelling') return { job: finished(job, 'cancelled', rules) }
      return {
        job: retried(job, afterFailure(job, 'OUTPUT_INVALID', rules.nowMs, rules.timings), rules),
      }
    default:
      return decideEndOfAttempt(job, message, rules)
  }
}

function decideEndOfAttempt(job: JobRecord, message: EndOfAttempt, rules: Rules): Decision {
  if (job.state === 'cancelling') return { job: finished(job, 'cancelled', rules) }
  // Once an upload is noted nothing is rendered again, whatever happens to the worker.
  if (job.uploaded) return nothing
  switch (message.kind) {
    case 'failed': {
      const retry = afterFailure(job, message.code, rules.nowMs, rules.timings)
      return { job: retried(job, retry, rules) }
    }
    case 'attempt-lost':
      return { job: retried(job, afterLoss(job, rules.nowMs, rules.timings), rules) }
    case 'released':
      return { job: queued(job, {}, rules) }
    case 'overdue':
      if (job.state !== 'rendering') return nothing
      return { job: failed(job, 'DEADLINE_EXCEEDED', {}, rules) }
    case 'cancelled':
      return nothing
  }
}

function retried(job: JobRecord, retry: Retry, rules: Rules): JobRecord {
  if (retry.again) return queued(job, retry.counted, rules)
  return failed(job, retry.code, retry.counted, rules)
}

/** Back in the queue, as if no worker had ever had the job; only the counters remember. */
function queued(job: JobRecord, counted: Partial<JobRecord>, rules: Rules): JobRecord {
  const { worker, uploaded, startedAtMs, notBeforeMs, ...rest } = job
  return { ...rest, ...counted, state: 'queued', queuedAtMs: rules.nowMs }
}

function failed(
  job: JobRecord,
  code: FailureCode,
  counted: Partial<JobRecord>,
  rules: Rules,
): JobRecord {
  const error = { code, message: failures[code].summary }
  return { ...finished({ ...job, ...counted }, 'failed', rules), error }
}

function finished(job: JobRecord, state: JobState, rules: Rules): JobRecord {
  const keptForMs = state === 'cancelled' ? 0 : rules.retentionMs
  return {
    ...job,
    state,
    finishedAtMs: rules.nowMs,
    expiresAtMs: Math.round(rules.nowMs + keptForMs),
  }
}
