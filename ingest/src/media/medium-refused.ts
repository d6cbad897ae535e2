import type { FailureCode } from '@avatar/contracts'

/**
 * A fault of the caller's medium. The checker process throws it in place of an AppError, whose package
 * would double its start-up time.
 */
export class MediumRefused extends Error {
  override readonly name = 'MediumRefused'
  readonly code: FailureCode
  readonly details: Readonly<Record<string, unknown>>

  /** For the caller, where the summary of the code says too little. */
  readonly explanation: string | undefined

  /** Whether a decoder found the fault, in whose memory the medium may have left something. */
  readonly isOfDecoder: boolean

  constructor(
    code: FailureCode,
    options: {
      cause?: unknown
      details?: Readonly<Record<string, unknown>>
      message?: string
      isOfDecoder?: boolean
    } = {},
  ) {
    const { cause, details = {}, message, isOfDecoder = false } = options
    super(message ?? code, { cause })
    this.code = code
    this.details = details
    this.explanation = message
    this.isOfDecoder = isOfDecoder
  }
}
