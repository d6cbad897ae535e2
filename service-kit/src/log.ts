import { type DestinationStream, type Logger, pino } from 'pino'
import { AppError } from './errors.ts'

export type Log = Logger

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
export function createLog(
  service: string,
  level: string,
  destination: DestinationStream = pino.destination({ fd: 1, sync: true }),
): Log {
  return pino(
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
}

/** An error as it may be logged: no request objects, no headers; causes one level after the other. */
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
