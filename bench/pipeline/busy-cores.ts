import { cpus } from 'node:os'

/** Share of the machine's cores, 0 to 1, that was busy between this call and the call of its answer. */
export function watchCores(): () => number {
  const before = spent()
  return () => {
    const after = spent()
    const all = after.all - before.all
    return all > 0 ? (after.busy - before.busy) / all : Number.NaN
  }
}

/** Milliseconds of all cores since the machine started. */
function spent(): { busy: number; all: number } {
  let [busy, all] = [0, 0]
  for (const { times } of cpus()) {
    const working = times.user + times.nice + times.sys + times.irq
    busy += working
    all += working + times.idle
  }
  return { busy, all }
}
