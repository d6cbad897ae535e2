/** Reads `/proc`, which only Linux has: elsewhere no process is found. */
import { readdir, readFile } from 'node:fs/promises'

/** One process, as `/proc/PID/stat` shows it. */
type ProcessStat = {
  parent: number
  /** In clock ticks since boot. No other process ever has the same pid and start. */
  started: string
}

/** Undefined when there is no such process, or only its zombie. */
export async function statOf(pid: number): Promise<ProcessStat | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  // The second field is the program's name, which may hold spaces and parentheses.
  const [state, parent, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const started = rest[17]
  return started === undefined || state === 'Z' ? undefined : { parent: Number(parent), started }
}

/** The pids of all processes that have this variable in their environment, except this one's. */
export async function pidsWithVariable(name: string, value: string): Promise<number[]> {
  const found: number[] = []
  for (const entry of await readdir('/proc').catch(() => [])) {
    const pid = Number(entry)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')
    if (environment.split('\0').includes(`${name}=${value}`)) found.push(pid)
  }
  return found
}

/** The living children of a process. */
export async function childrenOf(parent: number): Promise<number[]> {
  const entries = await readdir('/proc').catch(() => [])
  const pids = entries.map(Number).filter(Number.isInteger)
  const stats = await Promise.all(pids.map(async (pid) => ({ pid, stat: await statOf(pid) })))
  return stats.flatMap(({ pid, stat }) => (stat?.parent === parent ? [pid] : []))
}

/** Whether there is such a process, whoever owns it. Works everywhere. */
export function processLives(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

/** Signals a process, or a process group by its negative pid. One that has gone is fine. */
export function signalIfThere(pid: number, signal: NodeJS.Signals) {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}
