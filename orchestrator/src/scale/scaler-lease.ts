import { randomUUID } from 'node:crypto'
import { buckets, scalerKey, scalerLeaseSchema, type Timings } from '@avatar/contracts'
import type { Bus, Clock } from '@avatar/service-kit'

/** Who decides about workers. */
export type ScalerLease = {
  /** Takes the lease or renews it. @returns whether it is ours. @throws AppError BROKER_UNAVAILABLE */
  renew(): Promise<boolean>
  /** Whether it was ours at the last look, and cannot have ended since. */
  isHeld(): boolean
}

/**
 * A lease that was not renewed for its length is free, by the monotonic clock of whoever watches it: two clocks
 * need not agree. It has no time to live in the broker, which makes that as long as a delete marker's, an
 * hour in this bucket (nats-server 2.15.1).
 */
export async function openScalerLease(deps: {
  bus: Bus
  clock: Clock
  timings: Pick<Timings, 'scalerLeaseMs'>
}): Promise<ScalerLease> {
  const { bus, clock, timings } = deps
  const records = await bus.records(buckets.meta, scalerLeaseSchema)
  const lease = { holder: randomUUID() }
  let seen = { revision: 0, atMs: -Infinity }
  let heldUntilMs = -Infinity

  async function take(): Promise<boolean> {
    const found = await records.find(scalerKey)
    if (!found) return typeof (await records.create(scalerKey, lease)) === 'number'
    const nowMs = clock.monotonicMs()
    if (found.revision !== seen.revision) seen = { revision: found.revision, atMs: nowMs }
    const isFree = nowMs - seen.atMs >= timings.scalerLeaseMs
    if (found.value.holder !== lease.holder && !isFree) return false
    return (await records.update(scalerKey, lease, found.revision)) !== 'conflict'
  }

  return {
    async renew() {
      // From before the question on: the others count from when they see the answer's effect.
      const askedMs = clock.monotonicMs()
      const isOurs = await take()
      heldUntilMs = isOurs ? askedMs + timings.scalerLeaseMs : -Infinity
      return isOurs
    },
    isHeld: () => clock.monotonicMs() < heldUntilMs,
  }
}
