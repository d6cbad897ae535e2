import {
  buckets,
  createFairOrder,
  createOpenJobs,
  type FairJob,
  type FairRules,
  type Held,
  isTerminal,
  type JobRecord,
  type JobsAhead,
  jobRecordSchema,
  needsOf,
} from '@avatar/contracts'
import { followJobs } from '@avatar/job-kit'
import type { Bus, Clock, Log, RecordStore } from '@avatar/service-kit'
import type { z } from 'zod'
import { createJobList, type JobList, type PageEnd } from './job-list.ts'

/** What the board needs of a record. Parsing it takes a third of the time of the whole, and a start reads every record. */
const boardJobSchema = jobRecordSchema.pick({
  ...{ jobId: true, owner: true, state: true, epoch: true, worker: true, turn: true },
  ...{ createdAtMs: true, startedAtMs: true, finishedAtMs: true, notBeforeMs: true },
  ...{ estimatedSeconds: true, priority: true, how: true, voices: true, source: true },
})
type BoardJob = z.output<typeof boardJobSchema>

/** The records of all jobs as the board reads them. */
export type BoardRecords = Pick<RecordStore<BoardJob>, 'watch'>

/** Opens the bucket of job records for the board alone. */
export function openBoardRecords(bus: Bus): Promise<BoardRecords> {
  return bus.records(buckets.job, boardJobSchema)
}

/** A render under way, with what estimates need. */
export type RenderUnderWay = Pick<
  JobRecord,
  'jobId' | 'owner' | 'epoch' | 'state' | 'estimatedSeconds' | 'startedAtMs'
> & { workerId?: string | undefined }

/** So many of the jobs ahead are scheduled one by one in an estimate; of the others only the sum counts. */
const aheadOneByOne = 256

/**
 * All jobs as of a moment ago, without their payload: enough for places in the queue, by the order in
 * which the orchestrator hands jobs out, for the order of `GET /jobs` and for the depth of the queue.
 * The state of one job is in its record alone.
 */
export type Board = ReturnType<typeof createBoard>

/**
 * How long a start waits until every record is read. A list that lacks jobs would be wrong; a service
 * that never starts would be worse.
 */
const currentWithinMs = 15_000

export function createBoard(deps: {
  records: BoardRecords
  clock: Clock
  log: Log
  fairRules: FairRules
}) {
  const { clock, log } = deps
  const lists = new Map<string, JobList>()
  const order = createFairOrder(deps.fairRules)
  const underWay = new Map<string, RenderUnderWay>()
  const open = createOpenJobs()
  const current = new AbortController()

  function note(job: BoardJob, revision: number) {
    const { jobId, owner, state, epoch, estimatedSeconds, startedAtMs, worker } = job
    const list = lists.get(owner) ?? createJobList()
    lists.set(owner, list)
    list.add(job)
    order.note(asQueued(job), revision)
    open.note(job)
    underWay.delete(jobId)
    if (state === 'claimed' || state === 'rendering') {
      const render = { jobId, owner, epoch, state, estimatedSeconds, startedAtMs }
      underWay.set(jobId, { ...render, workerId: worker?.id })
    }
  }

  const following = followJobs({
    ...deps,
    onJob: note,
    onGone(jobId, owner) {
      open.forget(jobId)
      const list = lists.get(owner)
      list?.remove(jobId)
      if (list?.size() === 0) lists.delete(owner)
      order.forget(jobId)
      underWay.delete(jobId)
    },
    onCurrent: () => current.abort(),
  })

  return {
    ...following,
    /** Adds a job that this process created, which the watch has not delivered yet. */
    note(job: BoardJob): void {
      // Whatever the watch delivers is newer.
      if (!isTerminal(job) && !lists.get(job.owner)?.has(job)) note(job, 0)
    },
    queueDepth: () => order.waitingCount(),
    /** 1 for the job that is next; undefined for one that is not queued, or that may not start now. */
    queuePosition: (jobId: string) => order.placeOf(jobId),
    /** Why no job of the owner may start now; undefined when one may. */
    heldBackOf: (owner: string): Held | undefined => order.heldBackOf(owner),
    /** The owner's jobs that have not ended, together, and everybody's. */
    openOf: open.totalOf,
    openOfAll: open.total,
    /**
     * Seconds until the first of these renders should end: of an owner's, or of all. 0 when none is under
     * way.
     */
    nextEndSeconds(nowMs: number, owner?: string): number {
      const ends = [...underWay.values()]
        .filter((render) => owner === undefined || render.owner === owner)
        .map(({ startedAtMs = nowMs, estimatedSeconds }) => startedAtMs / 1000 + estimatedSeconds)
      return ends.length === 0 ? 0 : Math.max(0, Math.min(...ends) - nowMs / 1000)
    },
    /** The renders that workers have, or are about to begin. */
    rendersUnderWay: (): RenderUnderWay[] => [...underWay.values()],
    /** The jobs queued ahead of a waiting one, which may be so new that no record tells of it yet. */
    jobsAhead(job: BoardJob): JobsAhead {
      const isKnown = lists.get(job.owner)?.has(job)
      if (!isKnown) order.note(asQueued(job), 0)
      const ahead = order.aheadOf(job.jobId, aheadOneByOne)
      // It may yet be refused. Nothing else runs between these lines.
      if (!isKnown) order.forget(job.jobId)
      return ahead
    },
    /** The owner's jobs, newest first, starting behind `after`. */
    listOf: (owner: string, after: PageEnd | undefined, max: number): PageEnd[] =>
      lists.get(owner)?.page(after, max) ?? [],
    async start() {
      await following.start()
      await clock.wait(currentWithinMs, current.signal)
      if (!current.signal.aborted) log.warn('starting before all records are read')
    },
  }
}

/** A pending job has the place that it gets as soon as the orchestrator queues it. */
function asQueued(job: BoardJob): FairJob {
  const { state } = job
  return { ...job, state: state === 'pending' ? 'queued' : state, needs: needsOf(job) }
}
