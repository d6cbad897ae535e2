import { type JobRecord, jobKey } from '@avatar/contracts'
import type { JobRecords } from '@avatar/job-kit'
import { AppError } from '@avatar/service-kit'

/**
 * The record of the caller's own job; another's is the same miss as an unknown one.
 *
 * @throws AppError JOB_NOT_FOUND
 */
export async function getOwnJob(
  deps: { records: JobRecords },
  owner: string,
  jobId: string,
): Promise<JobRecord> {
  const found = await deps.records.find(jobKey(owner, jobId))
  if (!found) throw new AppError('JOB_NOT_FOUND')
  return found.value
}
