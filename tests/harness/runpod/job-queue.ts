import { randomUUID } from 'node:crypto'
import { z } from 'zod'

/** What `POST /run` takes. The bounds of the policy are those of the documentation. */
export const runSchema = z.object({
  input: z.record(z.string(), z.unknown()),
  policy: z
    .strictObject({
      executionTimeout: z.int().min(5_000).max(604_800_000).optional(),
      ttl: z.int().min(10_000).max(604_800_000).optional(),
      lowPriority: z.boolean().optional(),
    })
    .optional(),
})
export type Run = z.infer<typeof runSchema>

export type QueuedJob = {
  readonly id: string
  readonly run: Run
  status: 'IN_QUEUE' | 'IN_PROGRESS' | 'COMPLETED' | 'FAILED' | 'CANCELLED' | 'TIMED_OUT'
  workerId?: string
  output?: unknown
  error?: string
  /** How often a worker was given it. */
  taken: number
}

export type JobQueue = ReturnType<typeof createJobQueue>

const defaultExecutionMs = 600_000
const defaultTtlMs = 86_400_000

/**
 * The jobs of an endpoint. Results carry no data of ours, so they are kept until the end.
 *
 * @param timesDivisor makes the policies of jobs so many times shorter
 * @param onChange a job was added or has ended
 * @param onStop a job that a worker has in hand is to be stopped there
 */
export function createJobQueue(
  timesDivisor: number,
  onChange: () => void,
  onStop: (workerId: string, jobId: string) => void,
) {
  const jobs = new Map<string, QueuedJob>()
  const timers = new Set<NodeJS.Timeout>()

  function after(ms: number, act: () => void) {
    const timer = setTimeout(() => {
      timers.delete(timer)
      act()
    }, ms / timesDivisor)
    timers.add(timer.unref())
  }

  function end(job: QueuedJob, status: QueuedJob['status']) {
    if (job.status === 'IN_PROGRESS' && job.workerId) onStop(job.workerId, job.id)
    job.status = status
    onChange()
  }

  const isOpen = ({ status }: QueuedJob) => status === 'IN_QUEUE' || status === 'IN_PROGRESS'
  const counted = (status: QueuedJob['status']) =>
    [...jobs.values()].filter((job) => job.status === status).length

  return {
    all: () => [...jobs.values()],
    find: (id: string) => jobs.get(id),
    counted,

    add(run: Run): QueuedJob {
      const job: QueuedJob = { id: `${randomUUID()}-u1`, run, status: 'IN_QUEUE', taken: 0 }
      jobs.set(job.id, job)
      after(run.policy?.ttl ?? defaultTtlMs, () => {
        // Deleted whatever its state: its status is 404 from then on.
        if (isOpen(job)) end(job, 'TIMED_OUT')
        jobs.delete(job.id)
      })
      onChange()
      return job
    },

    /** Jobs that call for a worker. */
    active: () =>
      [...jobs.values()].filter(
        (job) =>
          job.status === 'IN_PROGRESS' ||
          (job.status === 'IN_QUEUE' && job.run.policy?.lowPriority !== true),
      ).length,

    take(workerId: string): QueuedJob | undefined {
      const job = [...jobs.values()].find(({ status }) => status === 'IN_QUEUE')
      if (!job) return undefined
      job.status = 'IN_PROGRESS'
      job.workerId = workerId
      job.taken += 1
      const take = job.taken
      after(job.run.policy?.executionTimeout ?? defaultExecutionMs, () => {
        if (job.status === 'IN_PROGRESS' && job.taken === take) end(job, 'TIMED_OUT')
      })
      return job
    },

    complete(id: string, result: { output?: unknown; error?: string | undefined }) {
      const job = jobs.get(id)
      if (job?.status !== 'IN_PROGRESS') return
      job.status = result.error === undefined ? 'COMPLETED' : 'FAILED'
      job.output = result.output
      if (result.error !== undefined) job.error = result.error
      onChange()
    },

    /** @returns undefined for a job that is not known */
    cancel(id: string): QueuedJob | undefined {
      const job = jobs.get(id)
      if (job && isOpen(job)) end(job, 'CANCELLED')
      return job
    },

    /** A worker died with jobs in hand. */
    abandon(workerId: string, isRequeued: () => boolean) {
      for (const job of jobs.values()) {
        if (job.status !== 'IN_PROGRESS' || job.workerId !== workerId) continue
        if (isRequeued()) job.status = 'IN_QUEUE'
        else {
          job.status = 'FAILED'
          job.error = 'the worker died'
        }
      }
      onChange()
    },

    stop() {
      for (const timer of timers) clearTimeout(timer)
    },
  }
}
