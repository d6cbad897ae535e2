import { buckets, type JobRecord, jobRecordSchema } from '@avatar/contracts'
import type { Bus, RecordStore } from '@avatar/service-kit'

/** The records of all jobs, under `<owner>.<jobId>`. */
export type JobRecords = RecordStore<JobRecord>

/** Opens the bucket of job records. Provisioning has created it. */
export function openJobRecords(bus: Bus): Promise<JobRecords> {
  return bus.records(buckets.job, jobRecordSchema)
}
