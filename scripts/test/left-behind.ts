import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** Servers that got SIGTERM when the last test ended may still be writing their files. */
const graceMs = 10_000

/**
 * Kills the processes that a test run left behind, and names them. They are found by the variable that
 * they inherited, so that no other run's server is killed. Linux only: elsewhere nothing is found.
 */
export async function leftBehind(runId: string): Promise<string[]> {
  const deadline = Date.now() + graceMs
  let found = await processesOf(runId)
  while (found.length > 0 && Date.now() < deadline) {
    await sleep(100)
    found = await processesOf(runId)
  }
  for (const { pid } of found) process.kill(pid, 'SIGKILL')
  return found.map(({ pid, command }) => `The tests left process ${pid} behind: ${command}`)
}

async function processesOf(runId: string): Promise<{ pid: number; command: string }[]> {
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name))
  const found = await Promise.all(
    pids.map(async (pid) => {
      const environ = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '')
      if (!environ.includes(`AVATAR_TEST_RUN=${runId}`)) return []
      const command = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')
      return [{ pid: Number(pid), command: command.replaceAll('\0', ' ').trim() }]
    }),
  )
  return found.flat()
}

/** Names the files and folders of ours that a test run left in its folder for temporary files. */
export async function filesLeftBehind(temporary: string): Promise<string[]> {
  const left = (await readdir(temporary)).filter((name) => name.startsWith('avatar-'))
  return left.map((name) => `The tests left ${join(temporary, name)} behind`)
}
