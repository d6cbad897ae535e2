import { buckets, type OwnerLimits, ownerLimitsSchema } from '@avatar/contracts'
import type { Bus, Clock, Log, RecordStore, Runnable } from '@avatar/service-kit'
import { mirror } from './mirror.ts'

/** What the operator allows each owner instead of the defaults, under the owner. */
export type LimitRecords = RecordStore<OwnerLimits>

/** Opens the bucket of owners' limits. Provisioning has created it. */
export function openOwnerLimits(bus: Bus): Promise<LimitRecords> {
  return bus.records(buckets.limits, ownerLimitsSchema)
}

/** The owners' own limits, as far as they are read: `isReady` tells whether that is all of them. */
export type LimitsWatch = Runnable & {
  /** What the operator allows this owner; the defaults hold for whatever it leaves out. */
  limitsOf(owner: string): OwnerLimits
}

const none: OwnerLimits = {}

/**
 * Watches the owners' limits. While the watch is broken, the last ones known hold: nobody is let go
 * because the broker is away.
 */
export function ownerLimits(deps: { records: LimitRecords; clock: Clock; log: Log }): LimitsWatch {
  const watch = mirror({ ...deps, name: 'limits watch' })
  return { ...watch, limitsOf: (owner) => watch.values().get(owner) ?? none }
}
