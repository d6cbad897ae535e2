import { JetStreamApiError } from '@nats-io/jetstream'
import { errors, type NatsConnection } from '@nats-io/transport-node'
import type { StorageTrouble } from './broker-storage.ts'
import type { Clock } from './clock.ts'
import { AppError } from './errors.ts'
import { type Log, logFailure } from './log.ts'
import type { PublishTrouble } from './metrics.ts'

/** What the broker did with a publish that it may refuse. */
export type PublishOutcome = 'stored' | 'exists'

/** JetStream error codes, from the server's errors.json. */
const storeFailed = 10_077
const wrongLastSequence = 10_071
/** A write to the same subject is on its way through the cluster. It may still be dropped with its leader. */
const subjectInProcess = 10_164
/** The broker answers these as refusals, and all of them pass. */
const passingCodes: readonly number[] = [
  subjectInProcess,
  10_158, // an earlier try under the same message id is on its way, as above
  10_167, // too many requests
]
const noRoomCodes: readonly number[] = [
  storeFailed,
  10_023, // insufficient resources
  10_028, // memory resources exceeded
  10_047, // storage resources exceeded
]

/** How long one try may take before the next is made under the same message id. */
export const publishTryMs = 2_000
const publishAgainMs = 250
/** Lines about one publish come at growing distances: the first at once, then after 5 s, doubled up to this. */
const firstSilenceMs = 5_000
const longestSilenceMs = 60_000

/**
 * Tries until the broker has stored a message, or changed a stream.
 *
 * What can pass is tried again: no responders, a timeout, a lost connection, a full stream or disk, an earlier try that is
 * still on its way.
 *
 * @throws AppError PUBLISH_REFUSED at once for what can never pass: a missing permission, a message
 * that is too large, a stream that does not exist; BROKER_UNAVAILABLE when `timeoutMs` is over, or the
 * connection is closed
 */
export async function untilStored(
  attempt: (tryMs: number) => Promise<unknown>,
  options: {
    subject: string
    timeoutMs?: number | undefined
    connection: NatsConnection
    clock: Clock
    log: Log
    countRetry: (reason: PublishTrouble) => void
    askStorage: AskStorage
    mover: StoreWatcher
  },
): Promise<PublishOutcome> {
  const { subject, timeoutMs = Infinity, connection, clock, log } = options
  const { countRetry, askStorage, mover } = options
  const beganMs = clock.monotonicMs()
  const deadlineMs = beganMs + timeoutMs
  let silence = { untilMs: 0, ms: firstSilenceMs }
  for (let tries = 1; ; tries++) {
    const leftMs = deadlineMs - clock.monotonicMs()
    try {
      await attempt(Math.max(1, Math.min(publishTryMs, leftMs)))
      mover.noteStored()
      const durationMs = Math.round(clock.monotonicMs() - beganMs)
      if (tries > 1) log.info({ subject, tries, durationMs }, 'message stored after retries')
      return 'stored'
    } catch (error) {
      if (isPerSubjectLimit(error) || isMovedOn(error)) return 'exists'
      mover.noteFailure(error)
      const { failure, reason } = await publishFailure(error, subject, askStorage)
      const nowMs = clock.monotonicMs()
      const isOver = connection.isClosed() || deadlineMs - nowMs <= publishAgainMs
      if (!failure.mayRetry || isOver) throw failure
      countRetry(reason)
      if (nowMs >= silence.untilMs) {
        // Whoever waits is told that the broker is unavailable; an operator, that it needs room.
        const told = reason === 'full' ? new AppError('STORAGE_FULL', { cause: error }) : failure
        logFailure(log, told, 'message not stored, publishing again', { subject, reason, tries })
        const ms = Math.min(longestSilenceMs, tries === 1 ? firstSilenceMs : silence.ms * 2)
        silence = { untilMs: nowMs + ms, ms }
      }
      await clock.wait(publishAgainMs)
    }
  }
}

/** Who is told whether the broker stores what it is given. */
export type StoreWatcher = {
  noteStored(): void
  noteFailure(error: unknown): void
}

/** Asks the broker whether it can store; undefined when it can, or does not answer. */
export type AskStorage = () => Promise<StorageTrouble | undefined>

/**
 * PUBLISH_REFUSED for what can never pass, BROKER_UNAVAILABLE for everything else. The message names the
 * true cause: a broker that cannot write lets a publish time out.
 */
export async function publishFailure(
  cause: unknown,
  subject: string,
  askStorage: AskStorage,
): Promise<{ failure: AppError; reason: PublishTrouble }> {
  const reason = troubleOf(cause)
  if (isRefusedForGood(cause))
    return { failure: new AppError('PUBLISH_REFUSED', { cause, details: { subject } }), reason }
  const trouble = reason === 'timeout' ? await askStorage() : undefined
  if (trouble) return { failure: cannotStore(trouble, cause), reason: 'full' }
  if (reason === 'full') return { failure: queueFull(cause), reason }
  return { failure: new AppError('BROKER_UNAVAILABLE', { cause }), reason }
}

const safeToRetry = 'It is safe to retry with the same Idempotency-Key.'

/** The broker answers and cannot write to its disk. */
export function cannotStore({ problem, sentence }: StorageTrouble, cause?: unknown): AppError {
  const message = `The queue cannot store anything. ${sentence} ${safeToRetry}`
  return new AppError('BROKER_UNAVAILABLE', { cause, message, details: { problem } })
}

/** A stream has no room; the names of the full ones where they are known. */
export function queueFull(cause: unknown, streams?: readonly string[]): AppError {
  return new AppError('BROKER_UNAVAILABLE', {
    cause,
    message: `The queue is full and takes nothing until there is room in it. ${safeToRetry}`,
    details: { problem: 'stream_full', ...(streams ? { streams } : {}) },
  })
}

/** Whether a compare-and-set may lose against a write that is on its way. */
export function isInProcess(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === subjectInProcess
}

/** A compare-and-set lost. */
export function isMovedOn(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === wrongLastSequence
}

/** 10077 is also "maximum bytes exceeded": the server tells the two apart only by their text. */
function isPerSubjectLimit(error: unknown): boolean {
  return (
    error instanceof JetStreamApiError &&
    error.code === storeFailed &&
    error.message.includes('per subject')
  )
}

/** JetStream answers a request that can never succeed with a status below 500, as HTTP does. */
function isRefusedForGood(error: unknown): boolean {
  if (error instanceof JetStreamApiError)
    return error.status < 500 && !passingCodes.includes(error.code)
  return (
    error instanceof errors.PermissionViolationError ||
    error instanceof errors.InvalidArgumentError || // Among them a payload above max_payload.
    error instanceof errors.InvalidSubjectError ||
    (error instanceof Error && error.cause !== undefined && isRefusedForGood(error.cause))
  )
}

/** Why the broker did not do what it was asked, from the error or its causes. */
export function troubleOf(error: unknown): PublishTrouble {
  if (error instanceof JetStreamApiError) return noRoomCodes.includes(error.code) ? 'full' : 'other'
  if (error instanceof errors.NoRespondersError) return 'no_responders'
  if (error instanceof errors.TimeoutError) return 'timeout'
  if (error instanceof errors.ConnectionError) return 'disconnected'
  return error instanceof Error && error.cause !== undefined ? troubleOf(error.cause) : 'other'
}
