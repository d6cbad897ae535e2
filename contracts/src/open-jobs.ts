import { hasOpenAttempt, isTerminal, type JobRecord } from './job.ts'

/** What the limits of an owner need to know of a job; a record has all of it. */
export type OpenJob = Pick<JobRecord, 'jobId' | 'owner' | 'state' | 'estimatedSeconds'>

/** Unfinished jobs together: how many, how many of them render, and how long all of them take. */
export type OpenTotal = { jobs: number; renders: number; estimatedSeconds: number }

/** What is kept of a job. Whole milliseconds: sums of fractions drift with every job that leaves. */
type Kept = { owner: string; isRender: boolean; estimatedMs: number }
type Sums = { jobs: number; renders: number; estimatedMs: number }

/** The unfinished jobs by owner, as running sums folded from records. */
export type OpenJobs = ReturnType<typeof createOpenJobs>

export function createOpenJobs() {
  const kept = new Map<string, Kept>()
  const owners = new Map<string, Sums>()
  const all: Sums = { jobs: 0, renders: 0, estimatedMs: 0 }

  function count({ owner, isRender, estimatedMs }: Kept, sign: 1 | -1) {
    const own = owners.get(owner) ?? { jobs: 0, renders: 0, estimatedMs: 0 }
    owners.set(owner, own)
    for (const sums of [own, all]) {
      sums.jobs += sign
      sums.renders += isRender ? sign : 0
      sums.estimatedMs += sign * estimatedMs
    }
    if (own.jobs === 0) owners.delete(owner)
  }

  function forget(jobId: string): void {
    const job = kept.get(jobId)
    if (!job) return
    kept.delete(jobId)
    count(job, -1)
  }

  return {
    /** Takes in a record. One that has ended leaves the sums. */
    note({ jobId, owner, state, estimatedSeconds }: OpenJob): void {
      forget(jobId)
      if (isTerminal({ state })) return
      const estimatedMs = Math.round(estimatedSeconds * 1000)
      const job = { owner, isRender: takesGpu({ state }), estimatedMs }
      kept.set(jobId, job)
      count(job, 1)
    },
    /** A record that exists no longer. */
    forget,
    totalOf: (owner: string): OpenTotal => totalFrom(owners.get(owner)),
    /** Of all owners. */
    total: (): OpenTotal => totalFrom(all),
  }
}

function totalFrom({ jobs, renders, estimatedMs }: Sums = { jobs: 0, renders: 0, estimatedMs: 0 }) {
  return { jobs, renders, estimatedSeconds: estimatedMs / 1000 }
}

/** Whether the job counts as one of its owner's renders: a worker has it, and its video is not made yet. */
export function takesGpu(job: Pick<JobRecord, 'state'>): boolean {
  return hasOpenAttempt(job) && job.state !== 'storing'
}
