import {
  background,
  type Clock,
  type Log,
  type RecordStore,
  type Runnable,
} from '@avatar/service-kit'

/** How soon a broken watch is opened again. */
const watchAgainMs = 500

/** A small bucket as this process last saw it: `isReady` tells whether it has read all of it. */
export type Mirror<T> = Runnable & { values(): ReadonlyMap<string, T> }

/**
 * Keeps a small bucket in memory by a watch. While the watch is broken, the values last known hold.
 *
 * @param options.name what is watched, for the log: `limits watch`
 */
export function mirror<T>(options: {
  records: Pick<RecordStore<T>, 'watch'>
  clock: Clock
  log: Log
  name: string
}): Mirror<T> {
  let known = new Map<string, T>()
  let isCurrent = false

  const loop = background({
    ...options,
    everyMs: watchAgainMs,
    // There may be no change for months.
    silentForMs: Infinity,
    async pass(signal) {
      // What was removed while no watch was open is not told, so the map is made anew.
      const fresh = new Map<string, T>()
      try {
        const changes = options.records.watch(signal, () => {
          known = fresh
          isCurrent = true
        })
        for await (const { key, value } of changes) {
          if (value === undefined) fresh.delete(key)
          else fresh.set(key, value)
        }
      } finally {
        isCurrent = false
      }
    },
  })
  return { ...loop, isReady: () => isCurrent, values: () => known }
}
