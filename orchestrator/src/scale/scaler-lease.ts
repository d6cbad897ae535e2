import { randomUUID } from 'node:crypto'
import { buckets, scalerKey, scalerLeaseSchema, type Timings } from '@avatar/contracts'
import type { Bus, Clock } from '@avatar/service-kit'

/**
 * Who decides about workers. The broker forgets the lease when it is not renewed, so no clock of ours takes
 * part in it.
 */
export type ScalerLease = {
  /** Takes the lease or renews it. @returns whether it is ours. @throws AppError BROKER_UNAVAILABLE */
  renew(): Promise<boolean>
  /** Whether it was ours at the last look, and cannot have ended since. */
  isHeld(): boolean
}

export async function openScalerLease(deps: {
  bus: Bus
  clock: Clock
  timings: Pick<Timings, 'scalerLeaseMs'>
}): Promise<ScalerLease> {
  const { bus, clock, timings } = deps
  const records = await bus.records(buckets.meta, scalerLeaseSchema)
  const lease = { holder: randomUUID() }
  // The broker knows whole seconds.
  const ttlMs = Math.max(1_000, timings.scalerLeaseMs)
  let heldUntilMs = -Infinity

  async function take(): Promise<boolean> {
    const found = await records.find(scalerKey)
    if (!found) return typeof (await records.create(scalerKey, lease, { ttlMs })) === 'number'
    if (found.value.holder !== lease.holder) return false
    const written = await records.update(scalerKey, lease, found.revision, { ttlMs })
    return written !== 'conflict'
  }

  return {
    async renew() {
      // From before the question on: the broker counts from its answer.
      const askedMs = clock.monotonicMs()
      const isOurs = await take()
      heldUntilMs = isOurs ? askedMs + ttlMs : -Infinity
      return isOurs
    },
    isHeld: () => clock.monotonicMs() < heldUntilMs,
  }
}
