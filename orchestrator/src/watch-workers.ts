import {
  type Beat,
  beatSchema,
  type HeldJob,
  type StopOrder,
  subjects,
  type Timings,
} from '@avatar/contracts'
import { plainEvent, publishEvent } from '@avatar/job-kit'
import {
  type Bus,
  background,
  type Clock,
  continueTrace,
  type Log,
  type Runnable,
  subscription,
  together,
} from '@avatar/service-kit'
import { isOverdue, wantsAttempt } from './held-attempt.ts'
import type { JobLedger } from './job-ledger.ts'
import type { LiveJobs } from './live-jobs.ts'
import { createLiveness } from './liveness.ts'

/**
 * Listens to the workers' beats: finds attempts that nobody works on, renders far past their
 * deadline, and workers that hold what is not theirs. It publishes events and lets their handlers
 * act; the answer to a beat is at most `ctl.stop`.
 */
export function watchWorkers(deps: {
  bus: Bus
  ledger: JobLedger
  liveJobs: LiveJobs
  clock: Clock
  log: Log
  timings: Timings
}): Runnable {
  const { bus, ledger, liveJobs, clock, log, timings } = deps
  const liveness = createLiveness(timings, clock.monotonicMs())

  async function onBeat(beat: Beat) {
    liveness.heard(beat, liveJobs.openAttempts(), clock.monotonicMs())
    for (const held of beat.jobs) {
      if (await isUnwanted(held)) {
        const order: StopOrder = { jobId: held.jobId, epoch: held.epoch }
        bus.publishCore(subjects.stop(beat.workerId), order)
      } else if (isOverdue(held, timings.overdueAfterMs)) {
        logOf(held).warn('render far past its deadline')
        await publishAbout('job.overdue', held)
      }
    }
  }

  /** The view may lag behind, so only a fresh record condemns. */
  async function isUnwanted(held: HeldJob): Promise<boolean> {
    const seen = liveJobs.find(held.jobId)?.value
    if (seen && wantsAttempt(seen, held)) return false
    const fresh = (await ledger.find(held.owner, held.jobId))?.value
    return fresh !== undefined && !wantsAttempt(fresh, held)
  }

  /** Both go by the trace of the job, which no beat carries. */
  const traceparentOf = ({ jobId }: { jobId: string }) => liveJobs.find(jobId)?.value.traceparent

  function logOf(attempt: { jobId: string; epoch: number }): Log {
    const { traceId } = continueTrace(traceparentOf(attempt))
    return log.child({ jobId: attempt.jobId, attempt: attempt.epoch, traceId })
  }

  async function publishAbout(
    type: 'job.overdue' | 'job.attempt-lost',
    attempt: { jobId: string; owner: string; epoch: number },
  ) {
    const { jobId, owner, epoch } = attempt
    const fact = { jobId, owner, epoch, revision: 0, atMs: clock.nowMs() }
    await publishEvent(bus, plainEvent(type, fact), { traceparent: traceparentOf(attempt) })
  }

  const watch = background({
    name: 'liveness watch',
    everyMs: timings.watchEveryMs,
    clock,
    log,
    async pass() {
      // No answer, no verdict: the silence may be the broker's.
      if (!(await bus.ping(timings.watchRoundTripMs))) return
      for (const lost of liveness.findLost(liveJobs.openAttempts(), clock.monotonicMs())) {
        logOf(lost).warn({ workerId: lost.workerId }, 'attempt lost')
        await publishAbout('job.attempt-lost', lost)
      }
    },
  })

  const beats = subscription({
    bus,
    subject: subjects.beat('*'),
    schema: beatSchema,
    handle: onBeat,
  })
  return together(beats, watch)
}
