import { chargedOf, type JobPosting, type JobRecord, sumOf } from '@avatar/contracts'

/** What an ended job cost, for the ledger. */
export function jobPosting(job: JobRecord, finishedAtMs: number): JobPosting {
  const { jobId, owner, state, frames, createdAtMs, startedAtMs, spent = [] } = job
  return {
    ...{ jobId, owner, state, frames, createdAtMs, finishedAtMs },
    ...(job.error ? { code: job.error.code } : {}),
    ...(startedAtMs === undefined ? {} : { startedAtMs }),
    audioSeconds: job.audio.seconds,
    priority: job.priority ?? 'normal',
    attempts: spent,
    charged: chargedOf(job),
    ours: sumOf(...spent.filter(({ isCharged }) => !isCharged)),
  }
}
