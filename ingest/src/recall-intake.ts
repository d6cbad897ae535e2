import type { ConsumerSpec, Timings } from '@avatar/contracts'
import { type Bus, background, type Clock, type Log, type Runnable } from '@avatar/service-kit'

/** The loop, and one pass of it, which says whether the consumer was reset. */
export type Recall = Runnable & { runOnce(): Promise<boolean> }

/**
 * Has events given out again that nobody would hand on any more. What lies in a work queue is
 * unfinished; a broker that stops badly can come back with some of it counted as settled. Then its
 * consumer is wound back. What is in somebody's hands comes twice by that, and is one job all the same.
 */
export function recallIntake(deps: {
  bus: Bus
  spec: ConsumerSpec
  clock: Clock
  log: Log
  timings: Timings
}): Recall {
  const { bus, spec, clock, log, timings } = deps
  /** The oldest event when it was first seen behind the consumer; it may be acked between two reads. */
  let behind: { sequence: number; sinceMs: number } | undefined

  async function runOnce(): Promise<boolean> {
    const settledUpTo = await bus.ackFloor(spec)
    const oldest = (await bus.streamState(spec.stream)).firstSequence
    if (oldest === undefined || oldest > settledUpTo) behind = undefined
    else if (behind?.sequence !== oldest)
      behind = { sequence: oldest, sinceMs: clock.monotonicMs() }
    if (!behind || clock.monotonicMs() - behind.sinceMs < timings.entryMissingMs) return false
    log.warn({ sequence: behind.sequence, consumer: spec.name }, 'forgotten events recalled')
    await bus.resetConsumer(spec, behind.sequence)
    behind = undefined
    return true
  }

  const loop = background({
    name: 'recall of intake',
    everyMs: timings.entryMissingMs,
    clock,
    log,
    pass: runOnce,
  })
  return { ...loop, runOnce }
}
