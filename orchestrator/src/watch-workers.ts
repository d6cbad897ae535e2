import {
  type Beat,
  beatSchema,
  type EventOf,
  eventId,
  type HeldJob,
  type StopOrder,
  subjects,
  type Timings,
} from '@avatar/contracts'
import {
  type Bus,
  type Clock,
  continueTrace,
  everySoOften,
  type Log,
  type Runnable,
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
  let subscription: { stop(): void } | undefined

  async function onBeat(beat: Beat) {
    liveness.heard(beat, liveJobs.openAttempts(), clock.monotonicMs())
    for (const held of beat.jobs) {
      if (await isUnwanted(held)) {
        const order: StopOrder = { jobId: held.jobId, epoch: held.epoch }
        bus.announce(subjects.stop(beat.workerId), order)
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
    const atMs = clock.nowMs()
    const event = { type, jobId, owner, epoch, revision: 0, atMs } as EventOf<typeof type>
    const traceparent = traceparentOf(attempt)
    await bus.publish(subjects.event(type, jobId), event, {
      messageId: eventId(event),
      ...(traceparent ? { traceparent } : {}),
    })
  }

  const watch = everySoOften({
    name: 'liveness watch',
    everyMs: timings.watchEveryMs,
    clock,
    log,
    async pass() {
      // No answer, no verdict: the silence may be the broker's.
      if (!(await bus.answers(timings.watchRoundTripMs))) return
      for (const lost of liveness.findLost(liveJobs.openAttempts(), clock.monotonicMs())) {
        logOf(lost).warn({ workerId: lost.workerId }, 'attempt lost')
        await publishAbout('job.attempt-lost', lost)
      }
    },
  })

  return {
    async start() {
      subscription = bus.listen(subjects.beat('*'), (message) => {
        const parsed = beatSchema.safeParse(message.json())
        if (!parsed.success) return log.warn({ subject: message.subject }, 'beat not understood')
        return onBeat(parsed.data)
      })
      await watch.start()
    },
    async stop() {
      subscription?.stop()
      await watch.stop()
    },
  }
}
