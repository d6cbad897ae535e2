import { hasOpenAttempt, isTerminal, type JobRecord } from '@avatar/contracts'
import { followJobs, type JobRecords } from '@avatar/job-kit'
import type { Clock, Log, Versioned } from '@avatar/service-kit'
import type { OpenAttempt } from './liveness.ts'

/** The unfinished jobs as of a moment ago. Only the record itself is the truth about a job. */
export type LiveJobs = ReturnType<typeof createLiveJobs>

/** Follows the records from its start on; until then it knows no jobs. */
export function createLiveJobs(options: { records: JobRecords; clock: Clock; log: Log }) {
  const jobs = new Map<string, Versioned<JobRecord>>()
  return {
    ...followJobs({
      ...options,
      onJob(job, revision) {
        if (isTerminal(job)) jobs.delete(job.jobId)
        else jobs.set(job.jobId, { value: job, revision })
      },
      onGone: (jobId) => void jobs.delete(jobId),
    }),
    all: () => jobs.values(),
    find: (jobId: string) => jobs.get(jobId),
    count: () => jobs.size,
    /** The attempts that a worker has and has not uploaded yet. */
    openAttempts(): OpenAttempt[] {
      const open: OpenAttempt[] = []
      for (const { value: job } of jobs.values())
        if (hasOpenAttempt(job) && !job.uploaded && job.worker)
          open.push({
            jobId: job.jobId,
            owner: job.owner,
            epoch: job.epoch,
            workerId: job.worker.id,
            incarnation: job.worker.incarnation,
          })
      return open
    },
  }
}
