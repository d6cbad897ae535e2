import {
  type FailureCode,
  failures,
  hasOpenAttempt,
  isTerminal,
  type JobRecord,
  spanAttributes as name,
  type Spent,
  spanNames,
  sumOf,
} from '@avatar/contracts'
import {
  jobTraceparent,
  type SpanAttributes,
  spanIdOf,
  type WrittenSpan,
} from '@avatar/service-kit'
import type { Transition } from '../records/job-writer.ts'
import type { Message } from '../states/decide.ts'

/** How an attempt ended, as its span tells it. */
type Outcome = 'completed' | 'failed' | 'lost' | 'released' | 'cancelled'

const outcomes: Readonly<Record<Spent['end'], Outcome>> = {
  completed: 'completed',
  refused: 'failed',
  failed: 'failed',
  overdue: 'failed',
  released: 'released',
  cancelled: 'cancelled',
  lost: 'lost',
}

/** What the record alone does not tell. */
export type SpanFacts = {
  /** The currency of prices; only dollars are told. */
  currency: string
  /** Whether a worker was ready or rendering at a time: a job that was queued then found a warm system. */
  wasWarmAt?: (atMs: number) => boolean
}

/**
 * The spans that end with a change of a job's state. They are told from the record and not by the worker:
 * an attempt whose worker was killed appears too. Their ids follow from job and epoch, so what is written
 * twice after a crash is the same span.
 */
export function spansOf(
  { before, after, message }: Transition,
  { currency, wasWarmAt }: SpanFacts,
): WrittenSpan[] {
  const isClaim = before.state === 'queued' && after.state === 'claimed'
  const didAttemptEnd = hasOpenAttempt(before) && !hasOpenAttempt(after)
  return [
    ...(isClaim ? [queueSpan(after, wasWarmAt)] : []),
    ...(didAttemptEnd ? [attemptSpan(before, after, message)] : []),
    ...(isTerminal(after) && !isTerminal(before) ? [jobSpan(after, currency)] : []),
  ]
}

function queueSpan(job: JobRecord, wasWarmAt: SpanFacts['wasWarmAt']): WrittenSpan {
  const { jobId, epoch, createdAtMs, queuedAtMs = createdAtMs, claimedAtMs = queuedAtMs } = job
  const start = wasWarmAt && (wasWarmAt(queuedAtMs) ? 'warm' : 'cold')
  return {
    name: spanNames.queue,
    id: spanIdOf(jobId, epoch, 'queue'),
    parent: jobTraceparent(job),
    ...{ fromMs: queuedAtMs, toMs: claimedAtMs },
    attributes: { ...attemptOf(job), [name.start]: start },
  }
}

/** `before` still has the attempt; `after` says how and when it ended. */
function attemptSpan(before: JobRecord, after: JobRecord, message: Message): WrittenSpan {
  const { jobId, epoch, worker, startedAtMs, queuedAtMs } = before
  const endedAtMs = (isTerminal(after) ? after.finishedAtMs : after.queuedAtMs) ?? 0
  const booked = after.spent?.find((spent) => spent.epoch === epoch)
  const outcome = booked && outcomes[booked.end]
  return {
    name: spanNames.attempt,
    id: spanIdOf(jobId, epoch),
    parent: jobTraceparent(before),
    // A record of an earlier version does not tell when it was claimed.
    fromMs: before.claimedAtMs ?? startedAtMs ?? queuedAtMs ?? endedAtMs,
    toMs: endedAtMs,
    attributes: {
      ...attemptOf(before),
      [name.worker]: worker?.id,
      [name.outcome]: outcome,
      ...blamed(codeOf(message)),
    },
    isError: outcome !== 'completed' && outcome !== 'released',
  }
}

function jobSpan(job: JobRecord, currency: string): WrittenSpan {
  const { jobId, epoch, state, error, createdAtMs, finishedAtMs = createdAtMs } = job
  const costUsd = currency === 'USD' ? sumOf(...(job.spent ?? [])).micros / 1e6 : undefined
  return {
    name: spanNames.job,
    id: spanIdOf(jobId),
    parent: job.traceparent,
    ...{ fromMs: createdAtMs, toMs: finishedAtMs },
    attributes: {
      [name.jobId]: jobId,
      [name.outcome]: state,
      [name.attempts]: epoch,
      [name.audioSeconds]: job.audio.seconds,
      [name.engine]: job.result?.engine,
      [name.door]: job.door,
      [name.owner]: job.owner,
      [name.costUsd]: costUsd,
      ...blamed(error?.code),
    },
    isError: state === 'failed',
  }
}

/** What every span of an attempt is found by. */
export function attemptOf({ jobId, epoch }: Pick<JobRecord, 'jobId' | 'epoch'>): SpanAttributes {
  return { [name.jobId]: jobId, [name.attempt]: epoch }
}

/** Why the attempt did not end well. */
function codeOf(message: Message): FailureCode | undefined {
  switch (message.kind) {
    case 'failed':
      return message.code
    case 'refused':
      return 'OUTPUT_INVALID'
    case 'attempt-lost':
      return 'WORKER_LOST'
    case 'overdue':
      return 'DEADLINE_EXCEEDED'
    default:
      return undefined
  }
}

function blamed(code: FailureCode | undefined): SpanAttributes {
  return code === undefined
    ? {}
    : { [name.code]: code, [name.blame]: failures[code].blame, [name.errorType]: code }
}
