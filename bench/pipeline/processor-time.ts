import { readFileSync } from 'node:fs'
import { childrenOf, processNames, type System } from '../../tests/harness/index.ts'

/** Milliseconds of processor time, by the process of `stack.json` that spent it or started who did. */
export type ProcessorTime = Record<(typeof processNames)[number], number>

/** Linux counts a hundred ticks a second for whoever asks. */
const msPerTick = 10

/** What each process spends between this call and the call of its answer; all 0 where it is not told. */
export async function watchProcessorTime(system: System): Promise<() => ProcessorTime> {
  const { processes } = await system.stack()
  const spent = () =>
    Object.fromEntries(processNames.map((name) => [name, familyMs(processes[name].pid)]))
  const before = spent()
  return () => {
    const after = spent()
    const difference = processNames.map((name) => [name, (after[name] ?? 0) - (before[name] ?? 0)])
    return Object.fromEntries(difference) as ProcessorTime // Object.fromEntries forgets the keys.
  }
}

/** Of a process, of its children that have ended, and of those that live. */
function familyMs(pid: number): number {
  let stat: string
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return 0
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  // utime, stime, cutime and cstime of proc(5).
  const own = fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) * msPerTick
  return childrenOf(pid).reduce((sum, child) => sum + familyMs(child), own)
}
