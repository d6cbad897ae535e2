import { buckets, type Wake, wakeKeyOf, wakeSchema } from '@avatar/contracts'
import {
  type Bus,
  background,
  type Clock,
  type Log,
  type RecordStore,
  type Runnable,
  type Versioned,
} from '@avatar/service-kit'

/** How soon a broken watch is opened again. */
const watchAgainMs = 500
/** Another writer may come first: the orchestrator that decided before, or a worker's hello. */
const changeTries = 5

export type WakeRecords = RecordStore<Wake>

/** Opens the bucket of wake-ups. Provisioning has created it. */
export function openWakes(bus: Bus): Promise<WakeRecords> {
  return bus.records(buckets.wake, wakeSchema)
}

/** The wake-ups of the last day as of a moment ago; what this process writes is seen at once. */
export type Wakes = Runnable & {
  isReady(): boolean
  all(): Wake[]
  /**
   * Writes a new one.
   *
   * @returns undefined when there is one of its name
   * @throws AppError BROKER_UNAVAILABLE when nobody knows whether it was written
   */
  create(wake: Wake): Promise<Wake | undefined>
  /**
   * Changes one by compare-and-set, from what it is now.
   *
   * @param next of the present record; undefined for no change
   * @returns the record as it then is; undefined when it is gone
   */
  change(
    wake: Pick<Wake, 'provider' | 'wakeId'>,
    next: (present: Wake) => Wake | undefined,
  ): Promise<Wake | undefined>
}

/** Follows the wake-ups by a watch. */
export function followWakes(deps: { records: WakeRecords; clock: Clock; log: Log }): Wakes {
  const { records } = deps
  let known = new Map<string, Versioned<Wake>>()
  let isCurrent = false

  function note(map: Map<string, Versioned<Wake>>, key: string, value: Wake, revision: number) {
    if ((map.get(key)?.revision ?? 0) < revision) map.set(key, { value, revision })
  }

  const loop = background({
    ...deps,
    name: 'wake watch',
    everyMs: watchAgainMs,
    // There may be no wake-up for days.
    silentForMs: Infinity,
    async pass(signal) {
      // What has expired while no watch was open is not told, so the map is made anew.
      const fresh = new Map<string, Versioned<Wake>>()
      try {
        const changes = records.watch(signal, () => {
          for (const [key, { value, revision }] of known)
            if (fresh.has(key)) note(fresh, key, value, revision)
          known = fresh
          isCurrent = true
        })
        for await (const { key, value, revision } of changes) {
          if (value) note(fresh, key, value, revision)
          else if ((fresh.get(key)?.revision ?? 0) < revision) fresh.delete(key)
        }
      } finally {
        isCurrent = false
      }
    },
  })

  return {
    ...loop,
    isReady: () => isCurrent,
    all: () => [...known.values()].map(({ value }) => value),
    async create(wake) {
      const key = wakeKeyOf(wake)
      const revision = await records.create(key, wake)
      if (typeof revision !== 'number') return undefined
      note(known, key, wake, revision)
      return wake
    },
    async change(wake, next) {
      const key = wakeKeyOf(wake)
      for (let tries = 0; tries < changeTries; tries++) {
        const found = await records.find(key)
        if (!found) return undefined
        const changed = next(found.value)
        if (!changed) return found.value
        const revision = await records.update(key, changed, found.revision)
        if (revision === 'conflict') continue
        note(known, key, changed, revision)
        return changed
      }
      throw new Error(`the wake-up ${wake.wakeId} changes too often`)
    },
  }
}
