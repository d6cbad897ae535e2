/** What the exit code of every command means; `avatar generate --help` prints them. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  refused: 3,
  jobFailed: 4,
  jobCancelled: 5,
  unreachable: 6,
  interrupted: 130,
} as const

/** Something that the user can put right: printed as one sentence, without a stack. */
export class UserError extends Error {
  override readonly name = 'UserError'
  readonly exitCode: number
  /** Whether the submitted media or fields are at fault, so that our logs say nothing more. */
  readonly blamesCaller: boolean

  constructor(message: string, exitCode: number = exitCodes.failed, blamesCaller = false) {
    super(message)
    this.exitCode = exitCode
    this.blamesCaller = blamesCaller
  }
}

/** The command line or the environment is wrong, as the cause found out. */
export function usageError(message: string, cause: unknown): UserError {
  const error = new UserError(message, exitCodes.usage)
  error.cause = cause
  return error
}
