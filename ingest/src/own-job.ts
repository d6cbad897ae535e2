import { type JobRecord, jobKey } from '@avatar/contracts'
import { AppError, type RecordStore } from '@avatar/service-kit'

/**
 * The record of the caller's own job; another's is the same miss as an unknown one.
 *
 * @throws AppError JOB_NOT_FOUND
 */
export async function getOwnJob(
  deps: { records: RecordStore<JobRecord> },
  owner: string,
  jobId: string,
): Promise<JobRecord> {
  const found = await deps.records.find(jobKey(owner, jobId))
  if (!found) throw new AppError('JOB_NOT_FOUND')
  return found.value
}
