import { readdirSync, readFileSync } from 'node:fs'

/** The pids of all processes that a system started: their environment names its data folder. */
export function processesOf(dataDir: string): number[] {
  return processIds().filter((pid) =>
    readQuietly(`/proc/${pid}/environ`).split('\0').includes(`AVATAR_DATA_DIR=${dataDir}`),
  )
}

/** Every process on this machine. */
function processIds(): number[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
}

/** The living children of a process. */
export function childrenOf(parent: number): number[] {
  return processIds().filter((pid) => {
    const stat = readQuietly(`/proc/${pid}/stat`)
    const [state, ppid] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return Number(ppid) === parent && state !== 'Z'
  })
}

function readQuietly(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // It has ended meanwhile.
  }
}

/** Whether a process still exists. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
