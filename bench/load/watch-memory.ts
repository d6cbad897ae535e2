import { readFileSync } from 'node:fs'
import { childrenOf, processNames, type System } from '../../tests/harness/index.ts'

export type ProcessName = (typeof processNames)[number]

/** Mebibytes; 0 where there is no /proc. */
export type Memory = {
  /** Resident in the process alone. */
  own: number
  /** Of the process and its children. What several processes map, such as Node itself, counts once in all. */
  together: number
}

function memoryAt(pid: number): Memory {
  const rollup = readQuietly(`/proc/${pid}/smaps_rollup`)
  const mebibytes = (name: string) =>
    Number(new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(rollup)?.[1] ?? 0) / 1024
  const children = childrenOf(pid).map((child) => memoryAt(child).together)
  return {
    own: mebibytes('Rss'),
    together: children.reduce((sum, child) => sum + child, mebibytes('Pss')),
  }
}

/** What each process holds now. */
export async function memoryOf(system: System): Promise<Map<ProcessName, Memory>> {
  const { processes } = await system.stack()
  return new Map(processNames.map((name) => [name, memoryAt(processes[name].pid)]))
}

/** The most that each process held at any look. */
export function peaks(looks: readonly Map<ProcessName, Memory>[]): Map<ProcessName, Memory> {
  const most = (name: ProcessName, what: keyof Memory) =>
    Math.max(0, ...looks.map((look) => look.get(name)?.[what] ?? 0))
  return new Map(
    processNames.map((name) => [
      name,
      { own: most(name, 'own'), together: most(name, 'together') },
    ]),
  )
}

function readQuietly(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // It has ended meanwhile.
  }
}
