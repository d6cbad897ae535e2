import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as moment } from 'node:timers/promises'
import type { System } from './system.ts'

/**
 * A second worker beside the system's own, started the same way but for its name and its folder: what
 * it needs is read off the first one.
 */
export async function startAnotherWorker(system: System, workerId: string) {
  const pid = await system.pidOf('sidecar')
  const [command = '', ...args] = readWords(`/proc/${pid}/cmdline`)
  const env = Object.fromEntries(
    readWords(`/proc/${pid}/environ`).map((line) => {
      const at = line.indexOf('=')
      return [line.slice(0, at), line.slice(at + 1)]
    }),
  )
  const worker = spawn(command, args, {
    env: { ...env, WORKER_ID: workerId, SPOOL_DIR: join(system.dataDir, workerId) },
    stdio: 'ignore',
  })
  return {
    async stop() {
      const gone = once(worker, 'exit')
      worker.kill('SIGTERM')
      await gone
    },
  }
}

/** Stops processes in their tracks for a while, as a suspended machine does. */
export async function suspend(pids: readonly number[], ms: number) {
  for (const pid of pids) process.kill(pid, 'SIGSTOP')
  try {
    await moment(ms)
  } finally {
    for (const pid of pids) process.kill(pid, 'SIGCONT')
  }
}

function readWords(path: string): string[] {
  return readFileSync(path, 'utf8').split('\0').filter(Boolean)
}
