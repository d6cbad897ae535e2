import { recordOf } from '@avatar/contracts'
import { statOf } from '../../scripts/setup/process-identity.mjs'
import { childrenOf, processNames, type System } from '../../tests/harness/index.ts'

/** Milliseconds of processor time of each service and server, children and replicas included. */
export type ProcessorTime = Record<(typeof processNames)[number], number>

/** Linux reports processor time in ticks of 10 ms. */
const msPerTick = 10

/** The time that each of them spends until the returned function is called; 0 where there is no /proc. */
export async function watchProcessorTime(system: System): Promise<() => ProcessorTime> {
  const { processes, replicas } = await system.stack()
  const all = Object.entries({ ...processes, ...replicas })
  const spent = () =>
    recordOf(processNames, (name) =>
      all
        .filter(([label]) => label.replace(/-\d+$/, '') === name)
        .reduce((sum, [, { pid }]) => sum + familyMs(pid), 0),
    )
  const before = spent()
  return () => {
    const after = spent()
    return recordOf(processNames, (name) => after[name] - before[name])
  }
}

/** Milliseconds of processor time of a process, of its children that have ended, and of those that live. */
export function familyMs(pid: number): number {
  // utime, stime, cutime and cstime.
  const own =
    statOf(pid)
      .slice(11, 15)
      .reduce((sum, ticks) => sum + Number(ticks), 0) * msPerTick
  return childrenOf(pid).reduce((sum, child) => sum + familyMs(child), own)
}
