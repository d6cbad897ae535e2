import { type FailureCode, failures } from '@avatar/contracts'
import type { z } from 'zod'

export type AppErrorOptions = {
  cause?: unknown
  /** Shown to the caller: the offending value and the allowed ones. Never a secret, nor a URL with one. */
  details?: Readonly<Record<string, unknown>>
  /** Replaces the table's sentence where the case allows a more helpful one. */
  message?: string
  /**
   * When trying again can succeed, where that is known: HTTP answers say it as `Retry-After`. A message
   * that is handed back for this long has not failed.
   */
  retryAfterMs?: number | undefined
}

/** An error whose code decides the HTTP status and the fate of the message. */
export class AppError extends Error {
  override readonly name = 'AppError'
  readonly code: FailureCode
  readonly details: Readonly<Record<string, unknown>>
  readonly retryAfterMs: number | undefined

  constructor(
    code: FailureCode,
    { cause, details = {}, message, retryAfterMs }: AppErrorOptions = {},
  ) {
    super(message ?? failures[code].summary, { cause })
    this.code = code
    this.details = details
    this.retryAfterMs = retryAfterMs
  }

  /** Whether trying again may help. */
  get mayRetry(): boolean {
    return failures[this.code].outcome === 'retry'
  }

  /** Whether a dependency did not answer. The message then waits, however long that takes. */
  get isDependency(): boolean {
    return failures[this.code].blame === 'dependency'
  }
}

/**
 * The message if it follows its schema.
 *
 * @throws AppError INVALID_MESSAGE with the fields that are wrong and none of their values
 */
export function parseMessage<S extends z.ZodType>(schema: S, body: unknown): z.output<S> {
  const { success, data, error } = schema.safeParse(body)
  if (success) return data
  const problems = error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`)
  throw new AppError('INVALID_MESSAGE', { cause: error, details: { problems } })
}

/** The error itself if it is ours, else UNEXPECTED around it. */
export function asAppError(error: unknown): AppError {
  return error instanceof AppError ? error : new AppError('UNEXPECTED', { cause: error })
}
