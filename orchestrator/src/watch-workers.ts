import { type Beat, beatSchema, type HeldJob, type StopOrder, subjects } from '@avatar/contracts'
import { plainEvent, publishEvent } from '@avatar/job-kit'
import {
  AppError,
  background,
  continueTrace,
  type Foundation,
  type Log,
  logFailure,
  type Runnable,
  subscription,
  together,
} from '@avatar/service-kit'
import { isOverdue, wantsAttempt } from './held-attempt.ts'
import type { JobLedger } from './job-ledger.ts'
import type { LiveJobs } from './live-jobs.ts'
import { createLiveness } from './liveness.ts'

/**
 * Watches the workers' heartbeats: it finds attempts that nobody works on, renders far past their
 * deadline, and workers that hold attempts they should not. It only publishes events, whose handlers
 * act, and `ctl.stop`.
 */
export function watchWorkers(
  deps: Pick<Foundation, 'bus' | 'clock' | 'log' | 'timings'> & {
    ledger: JobLedger
    liveJobs: LiveJobs
  },
): Runnable {
  const { bus, ledger, liveJobs, clock, log, timings } = deps
  const liveness = createLiveness(timings, clock.monotonicMs())

  async function onBeat(beat: Beat) {
    liveness.onBeat(beat, liveJobs.openAttempts(), clock.monotonicMs())
    for (const held of beat.jobs) {
      if (await isUnwanted(held)) {
        const order: StopOrder = { jobId: held.jobId, epoch: held.epoch }
        bus.publishCore(subjects.stop(beat.workerId), order)
      } else if (isOverdue(held, timings.overdueAfterMs)) {
        const failure = new AppError('DEADLINE_EXCEEDED')
        logFailure(logOf(held), failure, 'render far past its deadline', {
          workerId: beat.workerId,
        })
        await publishAbout('job.overdue', held)
      }
    }
  }

  /** The view may lag behind, so a stop is ordered only after a look at the record itself. */
  async function isUnwanted(held: HeldJob): Promise<boolean> {
    const seen = liveJobs.find(held.jobId)?.value
    if (seen && wantsAttempt(seen, held)) return false
    const fresh = (await ledger.find(held.owner, held.jobId))?.value
    return fresh !== undefined && !wantsAttempt(fresh, held)
  }

  /** Log lines and events belong to the trace of the job, which heartbeats do not carry. */
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
    await publishEvent(bus, plainEvent(type, fact), {
      traceparent: traceparentOf(attempt),
      timeoutMs: timings.publishInPassMs,
    })
  }

  const watch = background({
    ...deps,
    name: 'liveness watch',
    everyMs: timings.watchEveryMs,
    async pass(signal) {
      // Without an answer nothing is declared lost: it may be the broker that is silent.
      if (!(await bus.ping(timings.watchRoundTripMs))) return
      for (const lost of liveness.findLost(liveJobs.openAttempts(), clock.monotonicMs())) {
        if (signal.aborted) return
        const { workerId } = lost
        logFailure(logOf(lost), new AppError('WORKER_LOST'), 'attempt lost', { workerId })
        await publishAbout('job.attempt-lost', lost)
      }
    },
  })

  const subject = subjects.beat('*')
  const beats = subscription({ bus, subject, schema: beatSchema, handle: onBeat })
  return together(beats, watch)
}
