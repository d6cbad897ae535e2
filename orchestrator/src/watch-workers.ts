import {
  type Beat,
  beatSchema,
  type EventOf,
  eventId,
  type HeldJob,
  hasOpenAttempt,
  type StopOrder,
  subjects,
  type Timings,
} from '@avatar/contracts'
import { type Bus, type Clock, everySoOften, type Log, type Runnable } from '@avatar/service-kit'
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
      } else if (isOverdue(held)) {
        log.warn({ jobId: held.jobId, attempt: held.epoch }, 'render far past its deadline')
        await publishAbout('job.overdue', held)
      }
    }
  }

  /** The view may lag behind, so only a fresh record condemns. */
  async function isUnwanted(held: HeldJob): Promise<boolean> {
    const isWanted = (job: { epoch: number; state: string }) =>
      job.epoch === held.epoch && job.state !== 'cancelling'
    const seen = liveJobs.find(held.jobId)?.value
    if (seen && hasOpenAttempt(seen) && isWanted(seen)) return false
    const fresh = (await ledger.find(held.owner, held.jobId))?.value
    return fresh !== undefined && !(hasOpenAttempt(fresh) && isWanted(fresh))
  }

  function isOverdue(held: HeldJob): boolean {
    const overdueSeconds = held.deadlineSeconds + timings.overdueAfterMs / 1000
    return held.stage === 'rendering' && held.renderedForSeconds > overdueSeconds
  }

  async function publishAbout(
    type: 'job.overdue' | 'job.attempt-lost',
    attempt: { jobId: string; owner: string; epoch: number },
  ) {
    const { jobId, owner, epoch } = attempt
    const atMs = clock.nowMs()
    const event = { type, jobId, owner, epoch, revision: 0, atMs } as EventOf<typeof type>
    await bus.publish(subjects.event(type, jobId), event, { messageId: eventId(event) })
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
        log.warn(
          { jobId: lost.jobId, attempt: lost.epoch, workerId: lost.workerId },
          'attempt lost',
        )
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
