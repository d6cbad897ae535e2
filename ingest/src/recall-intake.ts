import type { ConsumerSpec } from '@avatar/contracts'
import { background, type Foundation, type Runnable } from '@avatar/service-kit'

/** The loop, and one pass of it, which returns whether it reset the consumer. */
export type Recall = Runnable & { runOnce(): Promise<boolean> }

/**
 * Makes the broker redeliver events that it forgot. Whatever lies in a work queue is unfinished, but a
 * broker that stops badly can come back counting some of it as acknowledged. Then the consumer is
 * reset to the oldest of them. Events in flight are delivered twice by that, and still make one job.
 */
export function recallIntake(
  deps: Pick<Foundation, 'bus' | 'clock' | 'log' | 'timings'> & { spec: ConsumerSpec },
): Recall {
  const { bus, spec, clock, log, timings } = deps
  /**
   * The oldest event, since it was first seen behind the ack floor. One look proves nothing: the event
   * may be acknowledged between the two reads.
   */
  let behind: { sequence: number; sinceMs: number } | undefined

  async function runOnce(): Promise<boolean> {
    const settledUpTo = await bus.ackFloor(spec)
    const oldest = (await bus.streamState(spec.stream)).firstSequence
    if (oldest === undefined || oldest > settledUpTo) behind = undefined
    else if (behind?.sequence !== oldest)
      behind = { sequence: oldest, sinceMs: clock.monotonicMs() }
    if (!behind || clock.monotonicMs() - behind.sinceMs < timings.behindMs) return false
    log.warn({ sequence: behind.sequence, consumer: spec.name }, 'forgotten events recalled')
    await bus.resetConsumer(spec, behind.sequence)
    behind = undefined
    return true
  }

  const everyMs = timings.behindMs
  return { ...background({ ...deps, name: 'recall of intake', everyMs, pass: runOnce }), runOnce }
}
