import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type Ended, StepError } from './deployment.ts'

/** A program with its arguments, never a shell: nothing is split or expanded. */
export type Run = (
  command: readonly [string, ...string[]],
  options?: { env?: Record<string, string>; timeoutMs?: number },
) => Promise<Ended>

/** Runs a program to its end. Where it takes too long it is ended. @throws when there is no such program */
export const runProgram: Run = async ([program, ...args], { env = {}, timeoutMs } = {}) => {
  const child = spawn(program, args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(timeoutMs === undefined ? {} : { timeout: timeoutMs }),
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text
  })
  const [code] = await once(child, 'close')
  return { exitCode: code ?? 1, stdout, stderr }
}

/** @throws StepError when the program fails */
export async function must(run: Run, ...[command, options]: Parameters<Run>): Promise<string> {
  const { exitCode, stdout, stderr } = await run(command, options)
  if (exitCode === 0) return stdout
  throw new StepError(`${command.join(' ')} ended with ${exitCode}: ${stderr.slice(-2000)}`)
}
