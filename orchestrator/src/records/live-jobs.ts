import {
  type FairOrder,
  hasOpenAttempt,
  isTerminal,
  type JobRecord,
  type Needs,
  type NextJob,
  needsOf,
} from '@avatar/contracts'
import { followJobs, type JobRecords } from '@avatar/job-kit'
import type { Clock, Log, Versioned } from '@avatar/service-kit'
import type { OpenAttempt } from '../liveness/liveness.ts'

/** What is kept of an unfinished job. The rest of a record takes several times the room. */
export type LiveJob = Pick<
  JobRecord,
  | 'jobId'
  | 'owner'
  | 'state'
  | 'epoch'
  | 'traceparent'
  | 'createdAtMs'
  | 'queuedAtMs'
  | 'startedAtMs'
  | 'uploaded'
  | 'worker'
  | 'estimatedSeconds'
  | 'frames'
  | 'priority'
  | 'notBeforeMs'
  | 'turn'
  | 'finishedAtMs'
> & { needs: Needs }

/**
 * The unfinished jobs as of a moment ago, and whose is next. Only the record itself is the truth about a
 * job.
 */
export type LiveJobs = ReturnType<typeof createLiveJobs>

/** Follows the records from its start on; until then it knows no jobs. */
export function createLiveJobs(options: {
  records: JobRecords
  clock: Clock
  log: Log
  order: FairOrder
}) {
  const { order } = options
  const jobs = new Map<string, Versioned<LiveJob>>()
  /** Those that a worker has and has not uploaded: each heartbeat looks at them and not at the queue. */
  const open = new Map<string, OpenAttempt>()
  /** The claimed jobs by the name of the ask that brought them to their worker. */
  const claimed = new Map<string, string>()
  /** The queued jobs that wait after a death, and until when. */
  const backingOff = new Map<string, number>()
  /** The whole records of those that a worker has: each is written four times within its attempt. */
  const inHand = new Map<string, Versioned<JobRecord>>()
  /** Every record up to this revision has been reported by the watch. */
  let seenUpTo = 0
  let onChange: (() => void) | undefined

  function forget(jobId: string) {
    const known = jobs.get(jobId)?.value
    if (!known) return
    jobs.delete(jobId)
    open.delete(jobId)
    inHand.delete(jobId)
    backingOff.delete(jobId)
    const { ask } = known.worker ?? {}
    if (ask !== undefined && claimed.get(ask) === jobId) claimed.delete(ask)
  }

  function takeIn(job: JobRecord, revision: number) {
    const { jobId, owner, epoch, state, worker, notBeforeMs } = job
    if ((jobs.get(jobId)?.revision ?? 0) >= revision) return
    forget(jobId)
    const live = liveJobOf(job)
    order.note(live, revision)
    if (!isTerminal(job)) jobs.set(jobId, { value: live, revision })
    if (state === 'queued' && notBeforeMs !== undefined) backingOff.set(jobId, notBeforeMs)
    if (state === 'claimed' && worker?.ask !== undefined) claimed.set(worker.ask, jobId)
    if (hasOpenAttempt(job)) inHand.set(jobId, { value: job, revision })
    if (hasOpenAttempt(job) && !job.uploaded && worker) {
      const { id: workerId, incarnation } = worker
      open.set(jobId, { jobId, owner, epoch, workerId, incarnation })
    }
    onChange?.()
  }

  function drop(jobId: string) {
    forget(jobId)
    order.forget(jobId)
    onChange?.()
  }

  return {
    ...followJobs({
      ...options,
      onJob(job, revision) {
        takeIn(job, revision)
        seenUpTo = revision
      },
      onGone(jobId, _owner, revision) {
        drop(jobId)
        seenUpTo = revision
      },
    }),
    all: () => jobs.values(),
    find: (jobId: string) => jobs.get(jobId),
    /**
     * The whole record of an attempt that a worker has. It may have been changed since, of which only a write from
     * its revision tells.
     */
    findInHand: (jobId: string) => inHand.get(jobId),
    /** The queued jobs that a free worker could get: neither in back-off nor over a limit of their owner. */
    *mayStart(nowMs: number): Generator<Versioned<LiveJob>> {
      const isHeldBack = new Map<string, boolean>()
      for (const job of jobs.values()) {
        const { state, owner, notBeforeMs = 0 } = job.value
        if (state !== 'queued' || notBeforeMs > nowMs) continue
        const known = isHeldBack.get(owner) ?? order.heldBackOf(owner) !== undefined
        isHeldBack.set(owner, known)
        if (!known) yield job
      }
    },
    /** The estimates of the jobs that could all start now, were there workers enough: caps hold. */
    startableSeconds(nowMs: number, suits: (needs: Needs) => boolean = () => true): number[] {
      const left = new Map<string, number>()
      const seconds: number[] = []
      for (const { value } of this.mayStart(nowMs)) {
        const { owner, estimatedSeconds, needs } = value
        if (!suits(needs)) continue
        const ofOwner = left.get(owner) ?? order.mayStartCountOf(owner, nowMs)
        if (ofOwner > 0) seconds.push(estimatedSeconds)
        left.set(owner, ofOwner - 1)
      }
      return seconds
    },
    /** The attempts that a worker has and has not uploaded yet. */
    openAttempts: (): OpenAttempt[] => [...open.values()],
    /** Takes in what this process has written or read, unless the watch has told it or what followed. */
    note(job: JobRecord, revision: number): void {
      if (revision > seenUpTo) takeIn(job, revision)
    },
    /** Replaces what is known of a job, or forgets it: for what the watch has failed to tell. */
    correct(jobId: string, record: Versioned<JobRecord> | undefined): void {
      drop(jobId)
      if (record) takeIn(record.value, record.revision)
    },
    seenUpTo: () => seenUpTo,
    /** The job that was claimed under the name of this ask, and of which its worker has told nothing. */
    claimedUnder(ask: string): LiveJob | undefined {
      const jobId = claimed.get(ask)
      return jobId === undefined ? undefined : jobs.get(jobId)?.value
    },
    /** The job that a free worker gets now, of those that it can do. */
    pick: (nowMs: number, suits: (needs: Needs) => boolean): NextJob | undefined =>
      order.pick(nowMs, suits),
    /** When the next back-off ends; `Infinity` without any. */
    nextBackoffEndMs(nowMs: number): number {
      let next = Infinity
      for (const endMs of backingOff.values()) if (endMs > nowMs && endMs < next) next = endMs
      return next
    },
    /** Calls back after each change, the newest caller only. */
    whenChanged(call: () => void): void {
      onChange = call
    },
  }
}

function liveJobOf(job: JobRecord): LiveJob {
  const { jobId, owner, state, epoch, traceparent, uploaded, worker, turn } = job
  const { createdAtMs, queuedAtMs, startedAtMs, finishedAtMs, notBeforeMs } = job
  const { estimatedSeconds, priority, frames } = job
  const times = { createdAtMs, queuedAtMs, startedAtMs, finishedAtMs, notBeforeMs }
  return {
    ...{ jobId, owner, state, epoch, traceparent, uploaded, worker, turn },
    ...{ estimatedSeconds, priority, frames, ...times, needs: needsOf(job) },
  }
}
