import { attemptLimits, type Timings } from '@avatar/contracts'
import type { PlannedJob } from './simulated-life.ts'

/** How long anything may take that must happen while nothing is wrong, in milliseconds. */
export type ProgressBounds = ReturnType<typeof progressBounds>

/**
 * How long a job may stay as it is, and a worker without one, once nothing is wrong any more. Each bound is
 * the sum of the waits that may lie one behind the other; none is measured. Work itself takes what the life's
 * plan says. An exchange with the broker takes less than any of these waits, so it is not counted.
 */
export function progressBounds(timings: Timings) {
  /**
   * What a disturbance leaves behind is over after this: an orchestrator that has just started listens once
   * it knows all jobs, or after its patience; what somebody has sent into the disturbance is given up and
   * comes again; and the first round trip tells that the connection is good.
   */
  const recovers =
    timings.listenAfterMs +
    timings.askParkMs +
    timings.askExtraMs +
    timings.askAgainMs +
    timings.watchRoundTripMs

  /**
   * A stored event is handled: a delivery into a process that died comes again when its acknowledgement is
   * overdue, a handler that met the disturbance has it again after its pause, and its own last try ends.
   */
  const handled = timings.handlerAckWaitMs + timings.storeAwayNakMs + timings.requestTimeoutMs

  /**
   * An attempt is lost whose worker is gone: its silence counts from when a watch first saw it, which in a
   * process that has just started grants a grace first; a pass before, a pass after, and then the event.
   */
  const lost =
    Math.max(timings.silentAfterMs, timings.watchGraceMs) + 2 * timings.watchEveryMs + handled

  /** The pause between two passes of the reconciler, in `repairs/reconcile.ts`. */
  const reconcilerPeriod = Math.min(timings.reconcileEveryMs, timings.behindMs)

  return {
    recovers,
    /**
     * An idle worker is given a job that may start: its last ask as a busy one was answered, and it asks as an
     * idle one after the pause; that ask may just have been answered when the job came, or have been given up
     * at its end, so one more follows; what no record tells, a loop sees that looks four times in that time;
     * and before this claim another one may be under way.
     */
    handOut:
      timings.askAgainMs +
      timings.askParkMs +
      timings.askExtraMs +
      timings.askParkMs / 4 +
      2 * timings.claimWriteMs,
    /**
     * The end of a job is told: whoever writes it down publishes it next. If that one dies in between, the
     * event that it was handling was not acknowledged, and whoever handles it then publishes the end.
     */
    told: handled,
    /**
     * How long a job may be in one state of one attempt. It waits in the queue for as long as no worker is
     * free, which `handOut` is about.
     */
    states: {
      /** Its event was published, or the reconciler publishes it: at its first pass after the patience. */
      pending: timings.pendingStaleMs + reconcilerPeriod + handled,
      /** It may wait behind the render before it, for which it was fetched early; then it starts, or is lost. */
      claimed: timings.prefetchBeforeEndMs + timings.inputAgainMs + lost,
      /** Besides the work: it ends, and tells so, or its worker is gone. */
      rendering: timings.storeAgainMs + lost,
      /** The upload and its report, tried again after a pause; or its worker is gone. */
      storing: timings.uploadPauseMs + timings.storeAgainMs + timings.transferStallMs + lost,
      /** Uploaded and noted: no worker is needed any more. */
      uploaded: handled,
      /** The next heartbeat shows that it is still held, the worker stops it and tells so; or it is gone. */
      cancelling:
        timings.beatEveryMs +
        timings.obeyStopMs +
        timings.transferStallMs +
        timings.inputAgainMs +
        lost,
    },
  }
}

/**
 * How long it may take until each of these jobs has its end and has been told of it, once nothing is wrong any
 * more: one worker does all of their attempts, one after the other, and each takes as long as it may. A job
 * that kills its worker also costs the one that was fetched behind it an attempt.
 */
export function allEndWithinMs(
  jobs: readonly Pick<PlannedJob, 'seconds' | 'trouble'>[],
  bounds: ProgressBounds,
  timings: Timings,
): number {
  const { claimed, rendering, storing, uploaded } = bounds.states
  const besidesMs = bounds.handOut + claimed + rendering + storing + uploaded + bounds.told
  const longestMs = 1_000 * Math.max(0, ...jobs.map(({ seconds }) => seconds))
  const ofOne = jobs.map(({ seconds, trouble }) => {
    const workMs = 1_000 * seconds
    if (trouble === 'kills workers') {
      const { deaths } = attemptLimits
      return deaths * (2 * besidesMs + workMs + longestMs + timings.deathBackoffMaxMs)
    }
    const tries = trouble === 'fails always' ? attemptLimits.failures : 2
    return tries * (besidesMs + workMs)
  })
  return bounds.recovers + bounds.states.pending + ofOne.reduce((sum, ms) => sum + ms, 0)
}
