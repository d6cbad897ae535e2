import { isTerminal, type JobRecord } from '@avatar/contracts'
import { followJobs, type JobRecords } from '@avatar/job-kit'
import type { Clock, Log } from '@avatar/service-kit'

/** Where a page of an owner's jobs ended. Pages go by creation, newest first. */
export type PageEnd = { createdAtMs: number; jobId: string }

/** A render that is to come or under way, with what estimates need. */
export type RenderAhead = Pick<
  JobRecord,
  'jobId' | 'epoch' | 'state' | 'estimatedSeconds' | 'startedAtMs'
>

/** What the board keeps of a job. */
type Entry = RenderAhead & { createdAtMs: number; queuedAtMs: number }

/**
 * All jobs as of a moment ago, without their payload: enough for queue positions, the order of
 * `GET /jobs` and the depth of the queue. The state of one job is in its record alone.
 */
export type Board = ReturnType<typeof createBoard>

/**
 * How long a start waits until every record is read. A list that lacks jobs would be wrong; a service
 * that never starts would be worse.
 */
const currentWithinMs = 15_000

export function createBoard(deps: { records: JobRecords; clock: Clock; log: Log }) {
  const { clock, log } = deps
  const owners = new Map<string, Map<string, Entry>>()
  const waiting = new Map<string, Entry>()
  const underWay = new Map<string, Entry>()
  const current = new AbortController()

  function note(job: JobRecord) {
    const { jobId, owner, state, epoch, estimatedSeconds, createdAtMs, startedAtMs } = job
    const { queuedAtMs = createdAtMs } = job
    const entry = { jobId, state, epoch, estimatedSeconds, createdAtMs, queuedAtMs, startedAtMs }
    const jobs = owners.get(owner) ?? new Map<string, Entry>()
    owners.set(owner, jobs.set(jobId, entry))
    if (state === 'queued' || state === 'pending') waiting.set(jobId, entry)
    else waiting.delete(jobId)
    if (state === 'claimed' || state === 'rendering') underWay.set(jobId, entry)
    else underWay.delete(jobId)
  }

  const following = followJobs({
    ...deps,
    onJob: note,
    onGone(jobId, owner) {
      owners.get(owner)?.delete(jobId)
      waiting.delete(jobId)
      underWay.delete(jobId)
    },
    onCurrent: () => current.abort(),
  })

  return {
    ...following,
    /** Adds a job that this process created, which the watch has not delivered yet. */
    note(job: JobRecord): void {
      if (!isTerminal(job) && !owners.get(job.owner)?.has(job.jobId)) note(job)
    },
    queueDepth: () => waiting.size,
    /** 1 for the job that is next; undefined for one that is not queued. */
    queuePosition(jobId: string): number | undefined {
      const own = waiting.get(jobId)
      if (!own) return undefined
      let ahead = 0
      for (const other of waiting.values()) if (isBefore(other, own)) ahead++
      return ahead + 1
    },
    /** The renders that come before this job's: those under way, and those queued ahead of it. */
    rendersAhead(jobId: string): RenderAhead[] {
      const own = waiting.get(jobId)
      if (own)
        return [...underWay.values(), ...[...waiting.values()].filter((o) => isBefore(o, own))]
      // A claimed job may have been prefetched, while its worker still renders another one.
      return [...underWay.values()].filter((other) => other.state === 'rendering')
    },
    /** The owner's jobs, newest first, starting behind `after`. */
    listOf(owner: string, after: PageEnd | undefined, max: number): PageEnd[] {
      return [...(owners.get(owner)?.values() ?? [])]
        .filter((job) => !after || newestFirst(after, job) < 0)
        .sort(newestFirst)
        .slice(0, max)
        .map(({ createdAtMs, jobId }) => ({ createdAtMs, jobId }))
    },
    async start() {
      await following.start()
      await clock.wait(currentWithinMs, current.signal)
      if (!current.signal.aborted) log.warn('starting before all records are read')
    },
  }
}

function newestFirst(a: PageEnd, b: PageEnd): number {
  if (a.createdAtMs !== b.createdAtMs) return b.createdAtMs - a.createdAtMs
  return a.jobId === b.jobId ? 0 : a.jobId < b.jobId ? 1 : -1
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.queuedAtMs < b.queuedAtMs || (a.queuedAtMs === b.queuedAtMs && a.jobId < b.jobId)
}
