import { rm } from 'node:fs/promises'
import { systemClock } from '@avatar/service-kit'
import { z } from 'zod'
import { UserError } from '../exit-codes.ts'
import { pidsWithVariable, processLives, signalIfThere, statOf } from '../process-table.ts'
import { type DataFolder, readJsonIfThere, writePrivately } from './data-folder.ts'
import { type HeldName, holdName } from './held-name.ts'

/** Marks every process of a stack in its environment, which tells leftovers from strangers. */
export const stackMarkVariable = 'AVATAR_STACK_MARK'

const supervisorSchema = z.object({
  pid: z.int(),
  started: z.string(),
  isStopping: z.boolean().default(false),
})

/** How long leftovers get to end after SIGTERM before they are killed. */
const leftoverGraceMs = 5_000

/** How long to wait for a supervisor that is stopping; its services may take half a minute. */
const predecessorGraceMs = 60_000
/** A supervisor whose npm has just been killed may not have noticed yet. */
const unawareGraceMs = 1_000
const claimRetryMs = 100

/** The data folder belongs to this process until it is released. */
export type Claim = Awaited<ReturnType<typeof claimFor>>

/**
 * Claims the data folder for this process: by a name that only one process can hold, and by a file
 * that says which one, for people and for systems without such names. Waits for a supervisor that is
 * stopping.
 *
 * @throws UserError when a living supervisor has it
 */
export async function claimDataFolder(data: DataFolder): Promise<Claim> {
  const sinceMs = systemClock.monotonicMs()
  for (;;) {
    const name = await holdName(`data:${data.path}`)
    const other = await livingSupervisor(data)
    if (name && !other) return claimFor(data, name)
    name?.release()
    const patienceMs = other?.isStopping ? predecessorGraceMs : unawareGraceMs
    if (systemClock.monotonicMs() - sinceMs > patienceMs) {
      const who = other ? ` (process ${other.pid}); stop it with: kill ${other.pid}` : ''
      throw new UserError(`avatar up is already running on ${data.path}${who}`)
    }
    await systemClock.wait(claimRetryMs)
  }
}

async function claimFor(data: DataFolder, name: HeldName) {
  const mine = { pid: process.pid, started: (await statOf(process.pid))?.started ?? '' }
  const write = (isStopping: boolean) =>
    writePrivately(data.supervisorFile, `${JSON.stringify({ ...mine, isStopping })}\n`)
  await write(false)
  return {
    /** Tells the next supervisor that it is worth waiting. */
    stopping: () => write(true),
    async release() {
      await rm(data.supervisorFile, { force: true })
      name.release()
    },
  }
}

/** The supervisor that has the folder; undefined when its process has ended. */
export async function livingSupervisor(data: DataFolder) {
  const found = await readJsonIfThere(data.supervisorFile, supervisorSchema)
  if (!found) return undefined
  const { pid, started } = found
  // Without /proc a later process with the same pid looks the same.
  const lives = started === '' ? processLives(pid) : (await statOf(pid))?.started === started
  return lives ? found : undefined
}

/**
 * Stops what a killed supervisor left running, and returns the pids. The mark in the environment
 * identifies these processes and their children; a pid that now belongs to a stranger is left alone.
 */
export async function stopLeftovers(mark: string): Promise<number[]> {
  const marked = await pidsWithVariable(stackMarkVariable, mark)
  const found: { pid: number; started: string }[] = []
  for (const pid of marked) {
    const stat = await statOf(pid)
    if (stat) found.push({ pid, started: stat.started })
  }
  const living = async () => {
    const stats = await Promise.all(found.map(({ pid }) => statOf(pid)))
    return found.filter((one, at) => stats[at]?.started === one.started).map(({ pid }) => pid)
  }
  for (const pid of await living()) signalIfThere(pid, 'SIGTERM')
  const deadline = systemClock.monotonicMs() + leftoverGraceMs
  while (systemClock.monotonicMs() < deadline && (await living()).length > 0)
    await systemClock.wait(50)
  for (const pid of await living()) signalIfThere(pid, 'SIGKILL')
  while ((await living()).length > 0) await systemClock.wait(20)
  return found.map(({ pid }) => pid)
}
