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
  type Turn,
  type Used,
} from '@avatar/contracts'
import { type AttemptEnd, booked, settledTurn } from './booking.ts'
import { nextInstantMs } from './next-instant.ts'
import { afterFailure, afterLoss, type Retry } from './retry.ts'

/** What reached the record. A message about an attempt carries its epoch. */
export type Message =
  | { kind: 'submitted' | 'cancel' | 'cancel-requested' | 'queue-timeout' | 'deleted' }
  | Claim
  | { kind: 'completed'; epoch: number; rendered: Rendered; used?: Used | undefined }
  | { kind: 'started' | 'store' | 'verified' | 'refused'; epoch: number }
  | EndOfAttempt

/** A worker's ask takes the job. */
export type Claim = {
  kind: 'claim'
  workerId: string
  incarnation: string
  /** The ask's name: a claim that is repeated comes under the same one. */
  ask: string
  pool: string
  /** Of one GPU second of the pool. */
  priceMicros: number
  /** The turn that the job takes, unless an earlier claim has taken one. */
  turn: Turn
  /** Of the render, on this worker. */
  estimatedSeconds: number
}

/** A worker, or the watch over the workers, ends the attempt. */
type EndOfAttempt = { epoch: number; used?: Used | undefined } & (
  | { kind: 'failed'; code: FailureCode; message: string }
  | { kind: 'released' | 'cancelled' | 'attempt-lost' | 'overdue' }
)

/** How a request is answered. */
export type Answer = {
  answer: 'render' | 'none' | 'drop' | 'grant' | 'stop' | 'lost' | 'cancelling' | 'terminal'
}

/** The changed record, if it changes, and the answer, if the message is a request. */
type Decision = { job?: JobRecord; answer?: Answer }

/** What a decision depends on besides record and message. */
export type Rules = {
  /** By the broker's clock. */
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
      return { answer: { answer: 'none' } }
    case 'store':
      return { answer: { answer: 'drop' } }
    case 'cancel':
      return { answer: { answer: 'terminal' } }
    case 'deleted':
      if (job.deletedAtMs !== undefined) return nothing
      return { job: { ...job, deletedAtMs: nextInstantMs(job, rules.nowMs) } }
    default:
      return nothing
  }
}

function decideClaim(job: JobRecord, claim: Claim, rules: Rules): Decision {
  const { workerId: id, incarnation, ask, pool, priceMicros, estimatedSeconds } = claim
  if (job.state === 'claimed' && job.worker?.ask === ask) return { answer: { answer: 'render' } }
  if (job.state !== 'queued' || isBackingOff(job, rules)) return { answer: { answer: 'none' } }
  const claimedAtMs = nextInstantMs(job, rules.nowMs)
  return {
    job: {
      ...job,
      state: 'claimed',
      epoch: job.epoch + 1,
      claimedAtMs,
      worker: { id, incarnation, ask, pool, priceMicros },
      turn: job.turn ?? {
        ...claim.turn,
        estimatedSeconds: claim.turn.seconds,
        takenAtMs: claimedAtMs,
      },
      estimatedSeconds,
      deadlineSeconds: deadlineSecondsFor(estimatedSeconds, rules.minDeadlineSeconds),
    },
    answer: { answer: 'render' },
  }
}

/** Whether the job must still wait after a death. */
function isBackingOff({ notBeforeMs = 0 }: JobRecord, rules: Rules): boolean {
  const waitMs = notBeforeMs - rules.nowMs
  // No backoff is nearly as long: the clock has been set back since.
  return waitMs > 0 && waitMs <= 2 * rules.timings.deathBackoffMaxMs
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
      return { job: { ...job, state: 'rendering', startedAtMs: nextInstantMs(job, rules.nowMs) } }
    case 'completed':
      if (job.uploaded) return nothing
      if (job.state === 'cancelling')
        return { job: ended(job, told('cancelled', message.used, true), rules) }
      return { job: noted(job, message.rendered, message.used) }
    case 'verified': {
      if (!job.uploaded) return nothing
      const completed = ended(job, told('completed', job.used, true), rules, 'completed')
      return { job: { ...completed, result: job.uploaded } }
    }
    case 'refused': {
      if (!job.uploaded) return nothing
      const refused = told('refused', job.used)
      if (job.state === 'cancelling') return { job: ended(job, refused, rules) }
      const retry = afterFailure(job, 'OUTPUT_INVALID', rules.nowMs, rules.timings)
      return { job: retried(job, retry, refused, rules) }
    }
    default:
      return decideEndOfAttempt(job, message, rules)
  }
}

/** Uploaded and not verified yet: from here on nothing is rendered again. */
function noted(job: JobRecord, uploaded: Rendered, used: Used | undefined): JobRecord {
  return { ...job, state: 'storing', uploaded, ...(used ? { used } : {}) }
}

/** The end of an attempt of which its worker told. */
function told(end: AttemptEnd['end'], used: Used | undefined, isCharged = false): AttemptEnd {
  return { end, used, isCharged, isMeasured: true }
}

function decideEndOfAttempt(job: JobRecord, message: EndOfAttempt, rules: Rules): Decision {
  const end = endOf(message, job.state === 'cancelling')
  if (job.state === 'cancelling') return { job: ended(job, end, rules) }
  // Once an upload is noted nothing is rendered again, whatever happens to the worker.
  if (job.uploaded) return nothing
  switch (message.kind) {
    case 'failed': {
      const retry = afterFailure(job, message.code, rules.nowMs, rules.timings)
      return { job: retried(job, retry, end, rules, message.message) }
    }
    case 'attempt-lost':
      return { job: retried(job, afterLoss(job, rules.nowMs, rules.timings), end, rules) }
    case 'released':
      return { job: queued(booked(job, end, rules.nowMs), {}, rules) }
    case 'overdue':
      // Its `render.started` may be late or lost; the heartbeat that says so is proof enough.
      if (job.state !== 'rendering' && job.state !== 'claimed') return nothing
      return {
        job: retried(job, { again: false, code: 'DEADLINE_EXCEEDED', counted: {} }, end, rules),
      }
    case 'cancelled':
      return nothing
  }
}

/**
 * What the message says about the attempt. The owner pays for an attempt that it cancelled, and for one
 * that failed by its own fault; nobody but us pays for the rest.
 */
function endOf(message: EndOfAttempt, isCancelling: boolean): AttemptEnd {
  const { kind, used } = message
  switch (kind) {
    case 'failed':
      return told('failed', used, failures[message.code].blame === 'caller')
    case 'cancelled':
      return told('cancelled', used, isCancelling)
    case 'released':
      return told('released', used)
    case 'attempt-lost':
      return { end: 'lost', used, isCharged: false, isMeasured: false }
    case 'overdue':
      return { end: 'overdue', used, isCharged: false, isMeasured: false }
  }
}

/** Another attempt, or the end of the job. Only the attempt that ends a job may be charged. */
function retried(
  job: JobRecord,
  retry: Retry,
  end: AttemptEnd,
  rules: Rules,
  said?: string,
): JobRecord {
  const isCharged = end.isCharged && !retry.again
  const after = booked(job, { ...end, isCharged }, rules.nowMs)
  if (retry.again) return queued(after, retry.counted, rules)
  return failed(after, retry.code, retry.counted, rules, said)
}

/** Back in the queue, as if no worker had ever had the job; counters, turn and booked attempts stay. */
function queued(job: JobRecord, counted: Partial<JobRecord>, rules: Rules): JobRecord {
  const { worker, uploaded, used, claimedAtMs, startedAtMs, notBeforeMs, ...rest } = job
  return { ...rest, ...counted, state: 'queued', queuedAtMs: nextInstantMs(job, rules.nowMs) }
}

/** The open attempt ends, and the job with it. */
function ended(
  job: JobRecord,
  end: AttemptEnd,
  rules: Rules,
  state: 'completed' | 'cancelled' = 'cancelled',
): JobRecord {
  return finished(booked(job, end, rules.nowMs), state, rules)
}

/** Failures of which the engine's own words say more than the code: how many pixels, which way to turn. */
const engineExplains: ReadonlySet<FailureCode> = new Set([
  ...(['NO_FACE', 'FACE_UNUSABLE', 'FACE_TURNED', 'FACE_TOO_SMALL', 'SPEAKER_NOT_FOUND'] as const),
])

function failed(
  job: JobRecord,
  code: FailureCode,
  counted: Partial<JobRecord>,
  rules: Rules,
  said?: string,
): JobRecord {
  const message = (engineExplains.has(code) && said) || failures[code].summary
  const error = { code, message }
  return { ...finished({ ...job, ...counted }, 'failed', rules), error }
}

function finished(job: JobRecord, state: JobState, rules: Rules): JobRecord {
  const keptForMs = state === 'cancelled' ? 0 : rules.retentionMs
  const finishedAtMs = nextInstantMs(job, rules.nowMs)
  const expiresAtMs = Math.round(finishedAtMs + keptForMs)
  const ending = hasOpenAttempt(job) ? job.epoch : undefined
  return { ...job, state, ...settledTurn(job, ending), finishedAtMs, expiresAtMs }
}
