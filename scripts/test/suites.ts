import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { noTests, type Tally, tallyOfPytest, tallyOfVitest } from './tally.ts'

export type SuiteRun = {
  root: string
  args: readonly string[]
  /** Where the runner writes its machine-readable report. */
  report: string
  env: Readonly<Record<string, string>>
  /** Stands before each line of output, where several suites print at the same time. */
  prefix: string
}

/** What came of it; `trouble` is a failure that is no failed test: coverage, a crash, no tests. */
export type SuiteOutcome = { tally: Tally; trouble?: string }

export type Suite = {
  /** Short, and its own within a level. */
  label: string
  title: string
  run: (run: SuiteRun) => Promise<SuiteOutcome>
  args: readonly string[]
}

/**
 * Several workers, each with whole files, so that what a module or a folder makes once is shared. In
 * the order of the files: the long ones come early, small ones fill the end.
 */
export const inWorkers = ['-n', '2', '--dist=loadfile', '--no-loadscope-reorder']

/** Only a hang takes so long; it must not take the whole of CI's time with it. */
const deadlineMs = 20 * 60_000

/** How long what a runner printed at its end may be on its way. */
const lastLinesMs = 2_000

export const runVitest = runner(tallyOfVitest, ({ root, report }) => ({
  program: process.execPath,
  cwd: root,
  args: [
    join(root, 'node_modules/vitest/vitest.mjs'),
    ...['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`],
  ],
}))

export const runPytest = runner(tallyOfPytest, ({ root, report }) => ({
  program: join(root, '.venv/bin/python'),
  cwd: join(root, 'inference-sidecar'),
  args: ['-m', 'pytest', '-q', `--junitxml=${report}`],
}))

type Start = { program: string; cwd: string; args: readonly string[] }

/** Runs a suite by what `start` names, before the suite's own arguments. */
function runner(tallyOf: (report: string) => Tally, start: (run: SuiteRun) => Start) {
  return async (run: SuiteRun): Promise<SuiteOutcome> => {
    const { program, cwd, args } = start(run)
    const exit = await runToEnd(program, [...args, ...run.args], { ...run, cwd })
    return outcome(exit, run.report, tallyOf)
  }
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
  { cwd, env, prefix }: { cwd: string } & Pick<SuiteRun, 'env' | 'prefix'>,
): Promise<string> {
  const child = spawn(program, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: prefix ? ['ignore', 'pipe', 'pipe'] : ['ignore', 'inherit', 'inherit'],
    timeout: deadlineMs,
    killSignal: 'SIGKILL',
  })
  for (const stream of [child.stdout, child.stderr])
    if (stream)
      createInterface({ input: stream }).on('line', (line) => console.log(`${prefix}${line}`))
  const closed = once(child, 'close')
  const [code, signal] = await once(child, 'exit')
  // A process that a test has left behind may hold the pipes open for ever.
  await Promise.race([closed, sleep(lastLinesMs, undefined, { ref: false })])
  return signal ? `signal ${signal}` : `exit code ${code}`
}
