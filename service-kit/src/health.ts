import type { Runnable } from './background.ts'
import type { ClockAgreement } from './broker-clock.ts'
import { type Clock, inTime, sharedFor } from './clock.ts'

/**
 * Whether a dependency answers, or a sentence about what is wrong with it. It is given `answerWithinMs`; a
 * later answer counts as none.
 */
export type Check = (withinMs: number) => Promise<boolean | string>

type CheckState = { ok: boolean; since: string; problem?: string }

/**
 * What `/readyz` answers. `since` is when the check last changed. A clock that differs from the broker's
 * makes only those services unready that have a check for it.
 */
export type Readiness = {
  status: 'ready' | 'unready'
  checks: Record<string, CheckState>
  clock: { ok: boolean; ahead_seconds: number }
}

/** What `/livez` answers: the loops that only a restart of the process repairs. */
export type Liveness = { status: 'alive' | 'stuck'; stuck: readonly string[] }

export type Health = { live(): Liveness; ready(): Promise<Readiness> }

/**
 * How readiness is found out. `answerWithinMs` is what a dependency has for its answer. Everybody who asks
 * within `sharedForMs` of the last look gets the same answer: probes must not load a dependency.
 *
 * Their sum bounds how long one service looks ready after a dependency froze. Whoever asks several in turn,
 * and waits until all are unready, may wait for one more answer: one service had just looked, and by the
 * time that the others have answered, it looks again.
 */
export const readinessTimings = { answerWithinMs: 1_000, sharedForMs: 500 } as const

/**
 * The health of a process. It is alive while its loops turn, whatever its dependencies do. It is ready
 * while every check passes and every part does its work.
 */
export function createHealth(options: {
  checks: Readonly<Record<string, Check>>
  parts: () => readonly Runnable[]
  isStopping: () => boolean
  clock: Clock
  agreement: ClockAgreement
}): Health {
  const { clock, agreement, parts } = options
  const { answerWithinMs, sharedForMs } = readinessTimings
  const states = new Map<string, CheckState>()

  function state(name: string, answer: boolean | string) {
    const known = states.get(name)
    const ok = answer === true
    const since = known?.ok === ok ? known.since : new Date(clock.nowMs()).toISOString()
    const current = { ok, since, ...(typeof answer === 'string' ? { problem: answer } : {}) }
    states.set(name, current)
    return [name, current] as const
  }

  async function look(): Promise<Readiness> {
    const dependencies = Object.entries(options.checks).map(async ([name, check]) => {
      const answer = check(answerWithinMs).catch(() => false)
      const found = await inTime(clock, answerWithinMs, answer)
      return state(name, found === 'late' ? false : found)
    })
    const answers = await Promise.all(dependencies)
    const isWorking = parts().every((part) => part.isReady?.() ?? true)
    const checks = [...answers, state('work', isWorking && !options.isStopping())]
    const isReady = checks.every(([, { ok }]) => ok)
    return {
      status: isReady ? 'ready' : 'unready',
      checks: Object.fromEntries(checks),
      clock: { ok: agreement.agrees(), ahead_seconds: Math.round(agreement.aheadMs()) / 1000 },
    }
  }

  return {
    live() {
      const stuck = parts().flatMap((part) => part.stuckLoops?.() ?? [])
      return { status: stuck.length === 0 ? 'alive' : 'stuck', stuck }
    },
    ready: sharedFor(clock, sharedForMs, look),
  }
}
