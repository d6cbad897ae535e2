import { readdir, readFile } from 'node:fs/promises'
import type { Clock } from '@avatar/service-kit'
import { z } from 'zod'
import { type DataFolder, readIfThere, writePrivately } from './data-folder.ts'
import { dataFolderVariable } from './programs.ts'

/** Another `avatar up` runs on the same data. */
export class AlreadyRunning extends Error {
  override readonly name = 'AlreadyRunning'
}

const supervisorSchema = z.object({ pid: z.int(), started: z.string() })

/** How long leftovers get to end by themselves before they are killed. */
const leftoverGraceMs = 5_000

/**
 * Claims the data folder for this process.
 *
 * @throws AlreadyRunning when a living supervisor has it
 */
export async function claimDataFolder(data: DataFolder) {
  const text = await readIfThere(data.supervisorFile)
  const other = text === undefined ? undefined : supervisorSchema.safeParse(JSON.parse(text)).data
  if (other && other.pid !== process.pid && (await startTimeOf(other.pid)) === other.started)
    throw new AlreadyRunning(`avatar up is already running on ${data.path} (process ${other.pid}).`)
  const mine = { pid: process.pid, started: await startTimeOf(process.pid) }
  await writePrivately(data.supervisorFile, `${JSON.stringify(mine)}\n`)
}

/**
 * Stops what a supervisor that was killed left running, and says which processes those were. They
 * are known by the data folder in their environment: that covers their children too, and a pid that
 * was given to a stranger meanwhile is left alone.
 */
export async function stopLeftovers(data: DataFolder, clock: Clock): Promise<number[]> {
  const pids = await findOurs(data)
  const anyLives = async () => (await Promise.all(pids.map(startTimeOf))).some(Boolean)
  for (const pid of pids) signal(pid, 'SIGTERM')
  const deadline = clock.monotonicMs() + leftoverGraceMs
  while (clock.monotonicMs() < deadline && (await anyLives())) await clock.wait(50)
  for (const pid of pids) if (await startTimeOf(pid)) signal(pid, 'SIGKILL')
  while (await anyLives()) await clock.wait(20)
  return pids
}

/** Every process whose environment names this data folder, this one excepted. */
async function findOurs(data: DataFolder): Promise<number[]> {
  const mark = `${dataFolderVariable}=${data.path}`
  const found: number[] = []
  for (const entry of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue
    const env = await readFile(`/proc/${entry}/environ`, 'utf8').catch(() => '')
    if (env.split('\0').includes(mark)) found.push(Number(entry))
  }
  return found
}

/** The start time of a process in clock ticks since boot, which no reused pid shares; '' when gone. */
async function startTimeOf(pid: number): Promise<string> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  const [state, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return state === 'Z' ? '' : (rest[18] ?? '')
}

function signal(pid: number, name: NodeJS.Signals) {
  try {
    process.kill(pid, name)
  } catch {
    // It ended by itself in the meantime.
  }
}
