import type { FailureCode } from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'

/**
 * The refusal of one field, part or header of a request: `details` name it, and the message says what
 * is wrong with it and what would be right, because many clients show the message alone.
 */
export function fieldRefused(
  field: string,
  problem: string,
  {
    code = 'INVALID_REQUEST',
    cause,
    ...more
  }: { code?: FailureCode; cause?: unknown; found?: string; example?: string } = {},
): AppError {
  const details = { field, problem, ...more }
  return new AppError(code, { cause, details, message: `${field}: ${problem}.` })
}
