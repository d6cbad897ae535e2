import { type JobRecord, jobKey } from '@avatar/contracts'
import type { JobRecords } from '@avatar/job-kit'
import { AppError } from '@avatar/service-kit'

/**
 * The record of the caller's own job. Another owner's job looks like one that does not exist.
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
