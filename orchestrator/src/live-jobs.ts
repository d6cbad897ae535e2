import { hasOpenAttempt, isTerminal, type JobRecord } from '@avatar/contracts'
import type { Clock, Log, RecordStore, Runnable, Versioned } from '@avatar/service-kit'
import type { OpenAttempt } from './liveness.ts'

/** The unfinished jobs, as of a moment ago. The truth of one job is always its record. */
export type LiveJobs = Runnable & {
  all(): IterableIterator<Versioned<JobRecord>>
  find(jobId: string): Versioned<JobRecord> | undefined
  /** Attempts that are somebody's and not uploaded yet. */
  openAttempts(): OpenAttempt[]
  count(): number
}

/** Follows the records by one watch, opened again whenever it breaks. */
export function createLiveJobs(options: {
  records: RecordStore<JobRecord>
  clock: Clock
  log: Log
}): LiveJobs {
  const { records, clock, log } = options
  const jobs = new Map<string, Versioned<JobRecord>>()
  let abort: AbortController | undefined
  let running: Promise<void> | undefined

  async function follow(signal: AbortSignal) {
    while (!signal.aborted) {
      try {
        for await (const { key, value, revision } of records.watch(signal)) {
          const jobId = key.slice(key.indexOf('.') + 1)
          if (value && !isTerminal(value)) jobs.set(jobId, { value, revision })
          else jobs.delete(jobId)
        }
      } catch (error) {
        if (!signal.aborted)
          log.warn({ err: error }, 'watch of the records broke, opening it again')
      }
      await clock.wait(500, signal)
    }
  }

  return {
    all: () => jobs.values(),
    find: (jobId) => jobs.get(jobId),
    count: () => jobs.size,
    openAttempts() {
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
    async start() {
      if (running) return
      abort = new AbortController()
      running = follow(abort.signal)
    },
    async stop() {
      abort?.abort()
      await running
      running = undefined
    },
  }
}
