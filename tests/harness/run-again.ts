import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { ServiceName } from '@avatar/contracts'
import { until } from '@avatar/service-kit/testing'
import type { System } from './system.ts'

/**
 * Runs a service beside the system's own, with the same command line and environment except for `env`, until
 * it ends by itself or has written what is waited for.
 *
 * @returns its exit code and everything that it wrote
 */
export async function runAgain(
  system: System,
  service: ServiceName,
  env: Readonly<Record<string, string>>,
  isEnough: (output: string) => boolean = () => false,
): Promise<{ exitCode: number | null; output: string }> {
  const pid = await system.pidOf(service)
  const [command = '', ...args] = wordsOf(`/proc/${pid}/cmdline`)
  const own = wordsOf(`/proc/${pid}/environ`).map((line) => {
    const at = line.indexOf('=')
    return [line.slice(0, at), line.slice(at + 1)]
  })
  const child = spawn(command, args, {
    env: { ...Object.fromEntries(own), METRICS_PORT: '0', HTTP_PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  const gone = once(child, 'close')
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null
  try {
    await until(() => hasEnded() || isEnough(output), { what: 'its last line' })
  } finally {
    child.kill('SIGKILL')
  }
  await gone
  return { exitCode: child.exitCode, output }
}

/** The words of a file of `/proc`. */
export function wordsOf(file: string): string[] {
  return readFileSync(file, 'utf8').split('\0').filter(Boolean)
}
