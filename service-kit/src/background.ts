import type { Clock } from './clock.ts'
import { type Log, logFailure } from './log.ts'

/**
 * Everything that runs starts and stops by one contract: after `stop` it has stopped, and calling
 * either twice, or `stop` before `start`, is fine.
 */
export type Runnable = {
  start(): Promise<void>
  stop(): Promise<void>
  /** The loops inside that have died or hang. Only a restart of the process repairs them. */
  stuckLoops?(): readonly string[]
  /** Whether it does its work right now: its consumer is bound, its view is current. */
  isReady?(): boolean
  /** The loops inside that run and must come round. One that may wait for ever is left out. */
  loops?(): readonly Loop[]
}

/** How a loop does. Ten periods and a minute after its last turn it counts as stuck. */
export type Loop = { name: string; periodMs: number; turnedMsAgo: number }

export type BackgroundOptions = {
  /** Names the loop in logs and in `/livez`. */
  name: string
  /** The pause between two passes. After one that failed it is a minute at most. */
  everyMs: number
  clock: Clock
  log: Log
  /**
   * Works once. A pass that lasts longer than a few periods calls `turned` now and then, so that it
   * is not taken for one that hangs.
   */
  pass: (signal: AbortSignal, turned: () => void) => Promise<unknown>
  /** How long a pass may be silent before the loop counts as stuck; `Infinity` for a pass that waits. */
  silentForMs?: number
}

const periodsUntilStuck = 10
const marginMs = 60_000
/** What failed because a dependency was away need not wait for the next hour. */
const againAfterMs = 60_000

/**
 * A loop in the background. A pass that throws is logged, at the level that its failure code decides,
 * and the next pass runs soon: nothing a pass does ends the loop.
 */
export function background(options: BackgroundOptions): Runnable {
  const { name, everyMs, clock, log, pass } = options
  const silentForMs = options.silentForMs ?? periodsUntilStuck * everyMs + marginMs
  let abort: AbortController | undefined
  let running: Promise<void> | undefined
  let turnedAtMs = 0
  let hasDied = false
  const turned = () => {
    turnedAtMs = clock.monotonicMs()
  }

  async function loop(signal: AbortSignal) {
    while (!signal.aborted) {
      let pauseMs = everyMs
      try {
        await pass(signal, turned)
      } catch (error) {
        pauseMs = Math.min(everyMs, againAfterMs)
        if (!signal.aborted) logFailure(log, error, 'background pass failed', { loop: name })
      }
      turned()
      await clock.wait(pauseMs, signal)
    }
  }

  return {
    async start() {
      if (running) return
      abort = new AbortController()
      hasDied = false
      turned()
      running = loop(abort.signal).catch((error) => {
        hasDied = true
        log.fatal({ err: error, loop: name }, 'background loop died')
      })
    },
    async stop() {
      abort?.abort()
      await running
      running = undefined
    },
    stuckLoops: () => {
      const isSilent = clock.monotonicMs() - turnedAtMs > silentForMs
      return running && !abort?.signal.aborted && (hasDied || isSilent) ? [name] : []
    },
    loops() {
      if (!running || silentForMs === Infinity) return []
      const periodMs = Math.max(0, silentForMs - marginMs) / periodsUntilStuck
      return [{ name, periodMs, turnedMsAgo: clock.monotonicMs() - turnedAtMs }]
    },
  }
}

/** Several parts as one: started in order, stopped together, ready when all of them are. */
export function together(...parts: readonly Runnable[]): Runnable {
  return {
    async start() {
      for (const part of parts) await part.start()
    },
    async stop() {
      await Promise.all(parts.map((part) => part.stop()))
    },
    stuckLoops: () => parts.flatMap((part) => part.stuckLoops?.() ?? []),
    isReady: () => parts.every((part) => part.isReady?.() ?? true),
    loops: () => parts.flatMap((part) => part.loops?.() ?? []),
  }
}
