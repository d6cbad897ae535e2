/** Where a page of an owner's jobs ended. Pages go by creation, newest first. */
export type PageEnd = { createdAtMs: number; jobId: string }

/** All jobs of one owner by creation, ended ones included, so that a page costs no look at the others. */
export type JobList = ReturnType<typeof createJobList>

export function createJobList() {
  /** Oldest first. Nearly all jobs come in this order. */
  const jobs: PageEnd[] = []

  /** How many jobs are older than this one; it need not be in the list. */
  function countOlder(job: PageEnd): number {
    let from = 0
    let to = jobs.length
    while (from < to) {
      const middle = (from + to) >> 1
      if (isOlder(jobs[middle] as PageEnd, job))
        from = middle + 1 // `middle` is within.
      else to = middle
    }
    return from
  }

  function has(job: PageEnd): boolean {
    const found = jobs[countOlder(job)]
    return found?.jobId === job.jobId && found.createdAtMs === job.createdAtMs
  }

  return {
    size: () => jobs.length,
    has,
    /** Adds a job, unless it is there. */
    add({ createdAtMs, jobId }: PageEnd): void {
      const job = { createdAtMs, jobId }
      const last = jobs.at(-1)
      if (!last || isOlder(last, job)) jobs.push(job)
      else if (!has(job)) jobs.splice(countOlder(job), 0, job)
    },
    /** Records go by age, so this one is looked for from the oldest on. */
    remove(jobId: string): void {
      const at = jobs.findIndex((job) => job.jobId === jobId)
      if (at >= 0) jobs.splice(at, 1)
    },
    /** At most `max` jobs, newest first, starting behind `after`. */
    page(after: PageEnd | undefined, max: number): PageEnd[] {
      const end = after ? countOlder(after) : jobs.length
      return jobs.slice(Math.max(0, end - max), end).reverse()
    },
  }
}

function isOlder(a: PageEnd, b: PageEnd): boolean {
  return a.createdAtMs === b.createdAtMs ? a.jobId < b.jobId : a.createdAtMs < b.createdAtMs
}
