import type { Clock } from './clock.ts'
import type { Log } from './log.ts'

/**
 * Everything that runs starts and stops by one contract: stop means stopped, twice is fine, before
 * start is fine.
 */
export type Runnable = { start(): Promise<void>; stop(): Promise<void> }

/**
 * A loop around a pass: `pass` works once, the loop repeats it. A pass that throws is logged and
 * tried again at the next tick; it never ends the loop.
 */
export function everySoOften(options: {
  name: string
  everyMs: number
  clock: Clock
  log: Log
  pass: (signal: AbortSignal) => Promise<unknown>
}): Runnable {
  const { name, everyMs, clock, log, pass } = options
  let abort: AbortController | undefined
  let running: Promise<void> | undefined

  async function loop(signal: AbortSignal) {
    while (!signal.aborted) {
      try {
        await pass(signal)
      } catch (error) {
        if (!signal.aborted) log.warn({ err: error, loop: name }, 'pass failed, trying again')
      }
      await clock.wait(everyMs, signal)
    }
  }

  return {
    async start() {
      if (running) return
      abort = new AbortController()
      running = loop(abort.signal)
    },
    async stop() {
      abort?.abort()
      await running
      running = undefined
    },
  }
}

/** One named phase of a shutdown. What is not done by the deadline is left behind, and logged. */
export type StopPhase = {
  readonly name: string
  readonly deadlineMs: number
  stop(): Promise<unknown>
}

/** Stops in order, each phase by its deadline; a phase that fails does not keep the next from running. */
export async function stopInPhases(phases: readonly StopPhase[], clock: Clock, log: Log) {
  for (const phase of phases) {
    const late = new AbortController()
    const timeout = clock.wait(phase.deadlineMs, late.signal).then(() => 'late' as const)
    try {
      const ended = await Promise.race([phase.stop().then(() => 'stopped' as const), timeout])
      if (ended === 'late') log.warn({ phase: phase.name }, 'shutdown phase passed its deadline')
    } catch (error) {
      log.error({ err: error, phase: phase.name }, 'shutdown phase failed')
    } finally {
      late.abort()
    }
  }
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
