import {
  type Beat,
  beatSchema,
  type EventOf,
  type HeldJob,
  type StopOrder,
  subjects,
  type Used,
} from '@avatar/contracts'
import { publishEvent } from '@avatar/job-kit'
import {
  AppError,
  attemptTraceparent,
  background,
  continueFrom,
  continueTrace,
  type Foundation,
  type Log,
  logFailure,
  type Runnable,
  subscription,
  together,
} from '@avatar/service-kit'
import { attemptOf } from '../observations/spans.ts'
import type { JobWriter } from '../records/job-writer.ts'
import type { LiveJobs } from '../records/live-jobs.ts'
import { isOverdue, wantsAttempt } from './held-attempt.ts'
import { createLiveness } from './liveness.ts'

/**
 * Watches the workers' heartbeats: it finds attempts that nobody works on, renders far past their
 * deadline, and workers that hold attempts they should not. It only publishes events, whose handlers
 * act, and `ctl.stop`.
 */
export function watchWorkers(
  deps: Pick<Foundation, 'bus' | 'clock' | 'log' | 'timings'> & {
    writer: Pick<JobWriter, 'find'>
    liveJobs: Pick<LiveJobs, 'find' | 'openAttempts'>
  },
): Runnable {
  const { bus, writer, liveJobs, clock, log, timings } = deps
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
        const { gpuSeconds } = held
        const used = gpuSeconds === undefined ? undefined : { gpuSeconds }
        await publishAbout('job.overdue', { ...held, used })
      }
    }
  }

  /** The view may lag behind, so a stop is ordered only after a look at the record itself. */
  async function isUnwanted(held: HeldJob): Promise<boolean> {
    const seen = liveJobs.find(held.jobId)?.value
    if (seen && wantsAttempt(seen, held)) return false
    const fresh = (await writer.find(held.owner, held.jobId))?.value
    return fresh !== undefined && !wantsAttempt(fresh, held)
  }

  /** Log lines and events belong to the trace of the job, which heartbeats do not carry. */
  const traceparentOf = ({ jobId, epoch }: { jobId: string; epoch: number }) => {
    const job = liveJobs.find(jobId)?.value
    return job && attemptTraceparent({ ...job, epoch })
  }

  function logOf(attempt: { jobId: string; epoch: number }): Log {
    const { traceId } = continueTrace(traceparentOf(attempt))
    return log.child({ jobId: attempt.jobId, attempt: attempt.epoch, traceId })
  }

  async function publishAbout(
    type: 'job.overdue' | 'job.attempt-lost',
    attempt: { jobId: string; owner: string; epoch: number; used?: Used | undefined },
  ) {
    const { jobId, owner, epoch, used } = attempt
    const fact = { jobId, owner, epoch, revision: 0, atMs: clock.nowMs() }
    const event: EventOf<typeof type> = { type, ...fact, ...(used ? { used } : {}) }
    const traceparent = traceparentOf(attempt)
    const { publishInPassMs: timeoutMs } = timings
    await continueFrom(traceparent, attemptOf(attempt), () =>
      publishEvent(bus, event, { traceparent, timeoutMs }),
    )
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
