import { AppError, type Log, logFailure } from '@avatar/service-kit'
import type { Applied } from './records/job-writer.ts'

/** Logs and counts a job that has just failed, by its code: one line for each job that fails. */
export function logFailedJob(log: Log, { value: { state, error }, before }: Applied): void {
  if (error && state !== before) logFailure(log, new AppError(error.code), 'job failed')
}
