import { recordOf } from '@avatar/contracts'
import { statOf } from '../../scripts/setup/process-identity.mjs'
import { childrenOf, processNames, type System } from '../../tests/harness/index.ts'

/** Milliseconds of processor time of each process of `stack.json`, its children included. */
export type ProcessorTime = Record<(typeof processNames)[number], number>

/** Linux reports processor time in ticks of 10 ms. */
const msPerTick = 10

/** The time that each process spends until the returned function is called; 0 where there is no /proc. */
export async function watchProcessorTime(system: System): Promise<() => ProcessorTime> {
  const { processes } = await system.stack()
  const spent = () => recordOf(processNames, (name) => familyMs(processes[name].pid))
  const before = spent()
  return () => {
    const after = spent()
    return recordOf(processNames, (name) => after[name] - before[name])
  }
}

/** The time of a process, of its children that have ended, and of those that live. */
function familyMs(pid: number): number {
  // utime, stime, cutime and cstime.
  const own =
    statOf(pid)
      .slice(11, 15)
      .reduce((sum, ticks) => sum + Number(ticks), 0) * msPerTick
  return childrenOf(pid).reduce((sum, child) => sum + familyMs(child), own)
}
