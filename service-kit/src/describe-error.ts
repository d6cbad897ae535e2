import type { LoggedError } from '@avatar/contracts'

/** Causes below this are left out: an error may be its own cause. */
const deepestCause = 5

/**
 * An error as it may be logged: no request objects, no headers; its causes one below the other. What was
 * thrown and is no error has its text as the message.
 */
export function describeError(error: unknown, depth = 0): LoggedError {
  if (!(error instanceof Error)) return { type: typeof error, message: textOf(error) }
  const { code, details } = error as { code?: unknown; details?: unknown } // Those of ours and of Node's have them.
  const cause = error instanceof AggregateError ? error.errors[0] : error.cause
  return {
    type: error.name,
    message: error.message,
    ...(typeof code === 'string' ? { code } : {}),
    ...(isRecord(details) ? { details } : {}),
    ...(error.stack === undefined ? {} : { stack: error.stack }),
    ...(cause === undefined || depth === deepestCause
      ? {}
      : { cause: describeError(cause, depth + 1) }),
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** `String` throws for an object without a prototype. */
function textOf(thrown: unknown): string {
  try {
    return String(thrown)
  } catch {
    return Object.prototype.toString.call(thrown)
  }
}
