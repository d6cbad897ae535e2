import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { noTests, type Tally, tallyOfPytest, tallyOfVitest } from './tally.ts'

export type SuiteRun = {
  root: string
  args: readonly string[]
  /** Where the runner writes its machine-readable report. */
  report: string
  env: Readonly<Record<string, string>>
}

/** What came of it; `trouble` is a failure that is no failed test: coverage, a crash, no tests. */
export type SuiteOutcome = { tally: Tally; trouble?: string }

export type Suite = {
  title: string
  run: (run: SuiteRun) => Promise<SuiteOutcome>
  args: readonly string[]
}

/** Only a hang takes so long; it must not take the whole of CI's time with it. */
const deadlineMs = 20 * 60_000

export async function runVitest({ root, args, report, env }: SuiteRun): Promise<SuiteOutcome> {
  const vitest = join(root, 'node_modules/vitest/vitest.mjs')
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  const exit = await runToEnd(process.execPath, [vitest, 'run', ...reporters, ...args], root, env)
  return outcome(exit, report, tallyOfVitest)
}

export async function runPytest({ root, args, report, env }: SuiteRun): Promise<SuiteOutcome> {
  const python = join(root, '.venv/bin/python')
  const pytest = ['-m', 'pytest', '-q', `--junitxml=${report}`]
  const sidecar = join(root, 'inference-sidecar')
  const exit = await runToEnd(python, [...pytest, ...args], sidecar, env)
  return outcome(exit, report, tallyOfPytest)
}

async function outcome(
  exit: string,
  report: string,
  tallyOf: (report: string) => Tally,
): Promise<SuiteOutcome> {
  const text = await readFile(report, 'utf8').catch(() => undefined)
  const tally = text === undefined ? noTests : tallyOf(text)
  if (exit === 'exit code 0') return { tally }
  const isExplained = tally.failed > 0
  const about = isExplained ? '' : ' without a failed test: coverage, or an error outside of tests'
  return { tally, trouble: `ended with ${exit}${about}` }
}

async function runToEnd(
  program: string,
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>>,
): Promise<string> {
  const child = spawn(program, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: deadlineMs,
    killSignal: 'SIGKILL',
  })
  const [code, signal] = await once(child, 'close')
  return signal ? `signal ${signal}` : `exit code ${code}`
}
