import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { wordsOf } from './run-again.ts'
import type { System } from './system.ts'

/**
 * Starts a second worker beside the system's own, with the same command line and environment except for
 * its name and its folder.
 */
export async function startAnotherWorker(system: System, workerId: string) {
  const pid = await system.pidOf('sidecar')
  const [command = '', ...args] = wordsOf(`/proc/${pid}/cmdline`)
  const env = Object.fromEntries(
    wordsOf(`/proc/${pid}/environ`).map((line) => {
      const at = line.indexOf('=')
      return [line.slice(0, at), line.slice(at + 1)]
    }),
  )
  const worker = spawn(command, args, {
    env: { ...env, WORKER_ID: workerId, SPOOL_DIR: join(system.dataDir, workerId) },
    stdio: 'ignore',
  })
  async function end(signal: NodeJS.Signals) {
    const gone = once(worker, 'exit')
    worker.kill(signal)
    await gone
  }
  return { stop: () => end('SIGTERM'), kill: () => end('SIGKILL') }
}

/** Suspends processes, as a machine that sleeps does, while `meanwhile` runs. */
export async function suspend<T>(
  pids: readonly (number | undefined)[],
  meanwhile: () => Promise<T>,
): Promise<T> {
  const known = pids.filter((pid) => pid !== undefined)
  for (const pid of known) process.kill(pid, 'SIGSTOP')
  try {
    return await meanwhile()
  } finally {
    for (const pid of known) process.kill(pid, 'SIGCONT')
  }
}
