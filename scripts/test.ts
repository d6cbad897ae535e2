/**
 * Runs the tests of both languages and ends with one line, `N passed, N failed`, over all of them.
 *
 *   npm test                       every level, both languages side by side
 *   npm test -- --coverage         also measures coverage and holds it to its thresholds, as CI does
 *   CI=true npm test               runs what failed once more, alone, and names what only then passed
 *   npm run test:unit              one level: unit, integration, e2e or py
 *   npm run test:unit -- decide    other words are passed on to vitest and pytest
 */
import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { engineSetup, hasEnginePackages } from './engine-packages.ts'
import { filesLeftBehind, leftBehind } from './test/left-behind.ts'
import {
  inWorkers,
  pytestAgain,
  runFailedAgain,
  runPytest,
  runVitest,
  type Suite,
  type SuiteRun,
  vitestAgain,
} from './test/suites.ts'
import {
  addTallies,
  noTests,
  reportLines,
  summaryLine,
  type Tally,
  writeTally,
} from './test/tally.ts'

const root = join(import.meta.dirname, '..')
const results = join(root, 'test-results')

const vitest = (title: string, args: readonly string[]): Suite => ({
  label: 'ts',
  title: `TypeScript${title}`,
  run: runVitest,
  args,
  argsAgain: vitestAgain,
})

const pytest = (title: string, args: readonly string[]): Suite => ({
  label: 'py',
  title: `Python${title}`,
  run: runPytest,
  args,
  argsAgain: pytestAgain,
})

const words = process.argv.slice(2).filter((word) => word !== '--coverage')
// Tracing takes a third of the processor time of a Python test that imports torch.
const measuresCoverage = Boolean(process.env.CI) || words.length < process.argv.length - 2
const coverage = (...flags: readonly string[]) => (measuresCoverage ? flags : [])

/**
 * The suites of each level, which run side by side: vitest's tests wait for processes and leave a third of
 * two cores idle, and pytest's compute. `all` gives vitest every project at once, for the end-to-end files
 * wait most of all. Only `all` measures coverage, whose thresholds hold for all tests together, and are not
 * asked of a run in which a test failed at first.
 */
const levels: Readonly<Record<string, readonly Suite[]>> = {
  all: [
    vitest('', ['--project=!containers', ...coverage('--coverage')]),
    pytest('', [...inWorkers(2), ...coverage('--cov', '--cov-report=term')]),
  ],
  unit: [vitest(': unit', ['--project=unit']), pytest(': unit', ['tests/unit'])],
  integration: [
    vitest(': integration', ['--project=integration']),
    pytest(': integration', [...inWorkers(2), 'tests', '--ignore=tests/unit']),
  ],
  e2e: [vitest(': end to end', ['--project=e2e'])],
  py: [pytest('', inWorkers(3))],
}

const [level = 'all', ...forwarded] = levels[words[0] ?? ''] ? words : ['all', ...words]
const runId = randomUUID()
// What the tests leave in the folder for temporary files is found here, and removed with it.
const temporary = await mkdtemp(join(tmpdir(), 'avatar-run-'))
/** Failures that are no failed test. */
const troubles: string[] = []
let tally: Tally = noTests

// Without the engine's tests the coverage of Python says nothing.
const hasEngine = hasEnginePackages(root)
const withoutEngine = hasEngine ? [] : ['--cov-fail-under=0']

await rm(results, { recursive: true, force: true })
await mkdir(results, { recursive: true })

const suites = levels[level] ?? []
const firsts = await Promise.all(
  suites.map(async (suite) => {
    const run = runOf(suite)
    return { suite, run, first: await suite.run(run) }
  }),
)
for (const { suite, run, first } of firsts) {
  // A developer hears of a failure at once.
  const outcome = process.env.CI ? await runFailedAgain(suite, run, first) : first
  tally = addTallies(tally, outcome.tally)
  if (outcome.trouble) troubles.push(`${suite.title}: ${outcome.trouble}`)
}

troubles.push(...(await leftBehind(runId)))
// A failed test had no chance to clean up.
if (reportLines(tally).length === 0) troubles.push(...(await filesLeftBehind(temporary)))
await rm(temporary, { recursive: true, force: true }).catch((error) => troubles.push(String(error)))
if (tally.passed + tally.failed === 0) troubles.push('No test ran.')
await writeTally(results, 'test', tally)

console.log('')
if (!hasEngine) console.log(`The engine's tests were left out. To run them too: ${engineSetup}`)
for (const trouble of troubles) console.log(trouble)
// Among thousands of lines nobody finds them again.
for (const line of reportLines(tally)) console.log(line)
console.log(summaryLine(tally))
process.exitCode = troubles.length > 0 || tally.failed > 0 ? 1 : 0

function runOf(suite: Suite): SuiteRun {
  return {
    root,
    args: [...suite.args, ...(suite.run === runPytest ? withoutEngine : []), ...forwarded],
    report: join(results, `${suite.label}.report`),
    env: { AVATAR_TEST_RUN: runId, TMPDIR: temporary },
    prefix: suites.length > 1 ? `${suite.label} | ` : '',
  }
}
