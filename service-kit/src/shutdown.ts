import type { Runnable } from './background.ts'
import { type Clock, inTime } from './clock.ts'
import type { Log } from './log.ts'

/** One named phase of a shutdown. Whatever has not stopped by the deadline is left behind and logged. */
export type StopPhase = {
  readonly name: string
  readonly deadlineMs: number
  stop(): Promise<unknown>
}

/** One phase that stops several parts at the same time. */
export function stopTogether(name: string, deadlineMs: number, parts: Runnable[]): StopPhase {
  return { name, deadlineMs, stop: () => Promise.all(parts.map((part) => part.stop())) }
}

/**
 * Stops in order, each phase by its deadline. A phase that fails does not keep the next from running.
 *
 * @returns whether every phase stopped in time
 */
export async function stopInPhases(
  phases: readonly StopPhase[],
  clock: Clock,
  log: Log,
): Promise<boolean> {
  let isOrderly = true
  for (const phase of phases) {
    try {
      if ((await inTime(clock, phase.deadlineMs, phase.stop())) !== 'late') continue
      log.warn({ phase: phase.name }, 'shutdown phase passed its deadline')
    } catch (error) {
      log.error({ err: error, phase: phase.name }, 'shutdown phase failed')
    }
    isOrderly = false
  }
  return isOrderly
}

/** Resolves with the first SIGTERM or SIGINT; a second one ends the process at once. */
export function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    const onSignal = (signal: NodeJS.Signals) => {
      for (const other of ['SIGTERM', 'SIGINT'] as const) {
        process.removeListener(other, onSignal)
        process.once(other, () => process.exit(1))
      }
      resolve(signal)
    }
    process.on('SIGTERM', onSignal)
    process.on('SIGINT', onSignal)
  })
}
