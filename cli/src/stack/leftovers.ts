import { readdir, readFile, rm } from 'node:fs/promises'
import type { Clock } from '@avatar/service-kit'
import { z } from 'zod'
import { type DataFolder, readIfThere, writePrivately } from './data-folder.ts'
import { type HeldName, holdName } from './held-name.ts'

/** Marks every process of a stack in its environment, so that leftovers are told from strangers. */
export const stackMarkVariable = 'AVATAR_STACK_MARK'

/** Another `avatar up` runs on the same data. */
export class AlreadyRunning extends Error {
  override readonly name = 'AlreadyRunning'
}

const supervisorSchema = z.object({
  pid: z.int(),
  started: z.string(),
  isStopping: z.boolean().default(false),
})

/** How long leftovers get to end by themselves before they are killed. */
const leftoverGraceMs = 5_000

/** One that is stopping is waited for so long; its services may take half a minute. */
const predecessorGraceMs = 60_000
/** One whose npm was killed a moment ago may not have noticed yet. */
const unawareGraceMs = 1_000
const claimAgainMs = 100

/** The data folder is this process' own until it is given back. */
export type Claim = {
  /** Tells who comes next that it is worth waiting. */
  stopping(): Promise<void>
  release(): Promise<void>
}

/**
 * Claims the data folder for this process: by a name that only one process can have, and by a file
 * that says which, for people and for systems without such names. One that is stopping is waited for.
 *
 * @throws AlreadyRunning when a living supervisor has it
 */
export async function claimDataFolder(data: DataFolder, clock: Clock): Promise<Claim> {
  const sinceMs = clock.monotonicMs()
  for (;;) {
    const name = await holdName(`data:${data.path}`)
    const other = await livingSupervisor(data)
    if (name && !other) return claimFor(data, name)
    name?.release()
    const patienceMs = other?.isStopping ? predecessorGraceMs : unawareGraceMs
    if (clock.monotonicMs() - sinceMs > patienceMs) {
      const who = other ? ` (process ${other.pid}); stop it with: kill ${other.pid}` : ''
      throw new AlreadyRunning(`avatar up is already running on ${data.path}${who}`)
    }
    await clock.wait(claimAgainMs)
  }
}

async function claimFor(data: DataFolder, name: HeldName): Promise<Claim> {
  const mine = { pid: process.pid, started: await startTimeOf(process.pid) }
  const tell = (isStopping: boolean) =>
    writePrivately(data.supervisorFile, `${JSON.stringify({ ...mine, isStopping })}\n`)
  await tell(false)
  return {
    stopping: () => tell(true),
    async release() {
      await rm(data.supervisorFile, { force: true })
      name.release()
    },
  }
}

/** Who has the folder; undefined when that process is no more. */
export async function livingSupervisor(data: DataFolder) {
  const found = await readSupervisor(data)
  if (!found) return undefined
  const { pid, started } = found
  // Without /proc nothing tells a process from a later one with the same number.
  const lives = started === '' ? processLives(pid) : (await startTimeOf(pid)) === started
  return lives ? found : undefined
}

async function readSupervisor(data: DataFolder) {
  const text = await readIfThere(data.supervisorFile)
  if (text === undefined) return undefined
  try {
    return supervisorSchema.parse(JSON.parse(text))
  } catch {
    return undefined // Whatever wrote that is not a supervisor.
  }
}

/**
 * Stops what a supervisor that was killed left running, and says which processes those were. They
 * are known by the mark in their environment: that covers their children too, and a pid that was
 * given to a stranger meanwhile is left alone.
 */
export async function stopLeftovers(mark: string, clock: Clock): Promise<number[]> {
  const found = await findMarked(mark)
  const living = async () => {
    const started = await Promise.all(found.map(({ pid }) => startTimeOf(pid)))
    return found.filter((one, at) => started[at] === one.started).map(({ pid }) => pid)
  }
  for (const pid of await living()) signal(pid, 'SIGTERM')
  const deadline = clock.monotonicMs() + leftoverGraceMs
  while (clock.monotonicMs() < deadline && (await living()).length > 0) await clock.wait(50)
  for (const pid of await living()) signal(pid, 'SIGKILL')
  while ((await living()).length > 0) await clock.wait(20)
  return found.map(({ pid }) => pid)
}

/** Every process whose environment has the mark, this one excepted; with its time of start. */
async function findMarked(mark: string): Promise<{ pid: number; started: string }[]> {
  const variable = `${stackMarkVariable}=${mark}`
  const found: { pid: number; started: string }[] = []
  for (const entry of await readdir('/proc').catch(() => [])) {
    const pid = Number(entry)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    const env = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')
    if (env.split('\0').includes(variable)) found.push({ pid, started: await startTimeOf(pid) })
  }
  return found.filter(({ started }) => started !== '')
}

/** The start time of a process in clock ticks since boot, which no reused pid shares; '' when gone. */
async function startTimeOf(pid: number): Promise<string> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  const [state, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return state === 'Z' ? '' : (rest[18] ?? '')
}

/** Whether there is such a process, ours or another's. */
export function processLives(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

function signal(pid: number, name: NodeJS.Signals) {
  try {
    process.kill(pid, name)
  } catch {
    // It ended by itself in the meantime.
  }
}
