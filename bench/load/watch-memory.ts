import { readFileSync } from 'node:fs'
import { childrenOf, processNames, type System } from '../../tests/harness/index.ts'

export type ProcessName = (typeof processNames)[number]

/** Mebibytes that a process and its children hold now; 0 where there is no /proc. */
function residentMebibytes(pid: number): number {
  const own = /^VmRSS:\s+(\d+) kB$/m.exec(readQuietly(`/proc/${pid}/status`))?.[1] ?? '0'
  return childrenOf(pid).reduce((sum, child) => sum + residentMebibytes(child), Number(own) / 1024)
}

/** What each process holds now, its children included. */
export async function memoryOf(system: System): Promise<Map<ProcessName, number>> {
  const { processes } = await system.stack()
  return new Map(processNames.map((name) => [name, residentMebibytes(processes[name].pid)]))
}

/** The most that each process held at any look. */
export function peaks(looks: readonly Map<ProcessName, number>[]): Map<ProcessName, number> {
  return new Map(
    processNames.map((name) => [name, Math.max(0, ...looks.map((look) => look.get(name) ?? 0))]),
  )
}

function readQuietly(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // It has ended meanwhile.
  }
}
