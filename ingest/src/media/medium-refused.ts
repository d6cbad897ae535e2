import type { FailureCode } from '@avatar/contracts'

/**
 * A fault of the caller's medium. The checker process throws it in place of an AppError, whose package
 * would double its start-up time.
 */
export class MediumRefused extends Error {
  override readonly name = 'MediumRefused'
  readonly code: FailureCode
  readonly details: Readonly<Record<string, unknown>>

  constructor(
    code: FailureCode,
    { cause, details = {} }: { cause?: unknown; details?: Readonly<Record<string, unknown>> } = {},
  ) {
    super(code, { cause })
    this.code = code
    this.details = details
  }
}
