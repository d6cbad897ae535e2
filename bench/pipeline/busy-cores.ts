import { cpus } from 'node:os'

/** The share of the machine's cores, 0 to 1, that is busy until the returned function is called. */
export function watchCores(): () => number {
  const before = spent()
  return () => {
    const after = spent()
    const all = after.all - before.all
    return all > 0 ? (after.busy - before.busy) / all : Number.NaN
  }
}

/** Milliseconds since the machine started, summed over all cores. */
function spent(): { busy: number; all: number } {
  let [busy, all] = [0, 0]
  for (const { times } of cpus()) {
    const working = times.user + times.nice + times.sys + times.irq
    busy += working
    all += working + times.idle
  }
  return { busy, all }
}
