import { type FailureCode, failures } from '@avatar/contracts'
import { type DestinationStream, type Logger, pino } from 'pino'
import { AppError, asAppError } from './errors.ts'

const onFailure = Symbol('onFailure')

/** A pino logger. Child loggers inherit what is told of each failure. */
export type Log = Logger & { [onFailure]?: (code: FailureCode) => void }

export type LogOptions = {
  destination?: DestinationStream
  /** Told of each failure that `logFailure` writes, for a counter. */
  countFailure?: (code: FailureCode) => void
}

/** What must never be written: signatures of presigned URLs, API keys, bearer tokens, passwords in URLs. */
const secretPatterns: readonly [RegExp, string][] = [
  [/(X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s"\\]+/gi, '$1[redacted]'],
  [/ava_live_[0-9A-Za-z_]+/g, 'ava_live_[redacted]'],
  [/(Bearer\s+)[^\s"\\]+/gi, '$1[redacted]'],
  [/(:\/\/[^:/\s"\\]+:)[^@/\s"\\]+@/g, '$1[redacted]@'],
]

/** The text without anything that looks like a credential. The last line of defence, not the first. */
export function scrubSecrets(text: string): string {
  return secretPatterns.reduce((scrubbed, [pattern, to]) => scrubbed.replace(pattern, to), text)
}

/**
 * The logger of a service: JSON lines on standard output. Keys are camelCase from a fixed list
 * (`jobId`, `attempt`, `traceId`, `subject`, `code`, `durationMs`), the message is a constant
 * sentence. The Python side writes the same keys.
 */
export function createLog(service: string, level: string, options: LogOptions = {}): Log {
  const { destination = pino.destination({ fd: 1, sync: true }), countFailure } = options
  const log: Log = pino(
    {
      level,
      base: { service },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError },
      hooks: { streamWrite: scrubSecrets },
    },
    destination,
  )
  if (countFailure) log[onFailure] = countFailure
  return log
}

const levelOfBlame = { us: 'error', dependency: 'warn', caller: 'info' } as const

/**
 * Writes a failure and counts it. The row of its code in the failure table decides the level: our
 * fault is an error, a dependency's a warning, a caller's mistake is information.
 */
export function logFailure(
  log: Log,
  error: unknown,
  sentence: string,
  keys: Readonly<Record<string, unknown>> = {},
): void {
  const { code } = asAppError(error)
  const { blame } = failures[code]
  log[levelOfBlame[blame]]({ err: error, code, blame, ...keys }, sentence)
  log[onFailure]?.(code)
}

/** An error as it may be logged: no request objects, no headers; its causes one below the other. */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return String(error)
  return {
    type: error.name,
    message: error.message,
    ...(error instanceof AppError ? { code: error.code, details: error.details } : {}),
    stack: error.stack,
    ...(error.cause === undefined ? {} : { cause: describeError(error.cause) }),
  }
}
