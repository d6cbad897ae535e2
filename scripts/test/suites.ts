import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  afterSecondRun,
  failedFilesOfVitest,
  noTests,
  type Tally,
  tallyOfPytest,
  tallyOfVitest,
} from './tally.ts'

export type SuiteRun = {
  root: string
  args: readonly string[]
  /** Path at which the runner writes its machine-readable report. */
  report: string
  env: Readonly<Record<string, string>>
  /** Printed before each line of output when several suites print at the same time. */
  prefix: string
  /** Kills the runner when it aborts. */
  signal?: AbortSignal
}

/** `trouble` is a failure beside failed tests: coverage, a crash, no tests. */
export type SuiteOutcome = { tally: Tally; trouble?: string }

export type Suite = {
  /** Short, and unique within a level. */
  label: string
  title: string
  run: (run: SuiteRun) => Promise<SuiteOutcome>
  args: readonly string[]
  /** The arguments that run what failed once more, one file after the other. */
  argsAgain: (report: string) => readonly string[]
}

/**
 * Each worker runs whole files, so that tests share the fixtures of their module. Files keep their
 * order: the long ones come early, and the small ones fill the end.
 */
export const inWorkers = (count: number): readonly string[] => [
  ...['-n', String(count)],
  ...['--dist=loadfile', '--no-loadscope-reorder'],
]

/** Only a suite that hangs takes so long; it must not use up all of CI's time. */
const deadlineMs = 40 * 60_000

/** How long to wait for the last lines of a runner that has exited. */
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

export const vitestAgain = (report: string): readonly string[] => [
  ...failedFilesOfVitest(report),
  ...['--project=!containers', '--maxWorkers=1'],
]

/** Pytest remembers by itself what failed. */
export const pytestAgain = (): readonly string[] => [
  '--last-failed',
  '--last-failed-no-failures=none',
]

/** More failures than this are no accident of a busy machine. */
const failuresForSecondRunMax = 20

/**
 * Runs what failed in a suite once more, when nothing else runs: a test that passes there failed by what ran
 * beside it. The result tells such tests by name, so that they do not stay.
 */
export async function runFailedAgain(
  suite: Suite,
  run: SuiteRun,
  first: SuiteOutcome,
): Promise<SuiteOutcome> {
  const { failed } = first.tally
  if (failed === 0 || failed > failuresForSecondRunMax) return first
  const args = suite.argsAgain(await readFile(run.report, 'utf8'))
  const report = `${run.report}.again`
  const second = await suite.run({ ...run, args, report })
  // One that was cut off says nothing about the tests that it did not reach.
  if (second.trouble && second.tally.failed === 0) return first
  return { ...second, tally: afterSecondRun(first.tally, second.tally) }
}

type Start = { program: string; cwd: string; args: readonly string[] }

/** Runs the program that `start` names, with the suite's own arguments last. */
function runner(tallyOf: (report: string) => Tally, start: (run: SuiteRun) => Start) {
  return async (run: SuiteRun): Promise<SuiteOutcome> => {
    const { program, cwd, args } = start(run)
    const exit = await runToEnd(program, [...args, ...run.args], { ...run, cwd })
    const text = await readFile(run.report, 'utf8').catch(() => undefined)
    const tally = text === undefined ? noTests : tallyOf(text)
    if (exit === 'exit code 0') return { tally }
    const isExplained = tally.failed > 0
    const about = isExplained
      ? ''
      : ' without a failed test: see its output for coverage or an error'
    return { tally, trouble: `ended with ${exit}${about}` }
  }
}

async function runToEnd(
  program: string,
  args: readonly string[],
  { cwd, env, prefix, signal }: { cwd: string } & Pick<SuiteRun, 'env' | 'prefix' | 'signal'>,
): Promise<string> {
  const child = spawn(program, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: prefix ? ['ignore', 'pipe', 'pipe'] : ['ignore', 'inherit', 'inherit'],
    timeout: deadlineMs,
    killSignal: 'SIGKILL',
  })
  const kill = () => child.kill('SIGKILL')
  if (signal?.aborted) kill()
  signal?.addEventListener('abort', kill)
  for (const stream of [child.stdout, child.stderr])
    if (stream)
      createInterface({ input: stream }).on('line', (line) => console.log(`${prefix}${line}`))
  const closed = once(child, 'close')
  const [code, killedBy] = await once(child, 'exit')
  signal?.removeEventListener('abort', kill)
  // A process that a test left behind may hold the pipes open for ever.
  await Promise.race([closed, sleep(lastLinesMs, undefined, { ref: false })])
  return killedBy ? `signal ${killedBy}` : `exit code ${code}`
}
