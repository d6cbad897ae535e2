import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** A test that failed, and the first words of its error. */
export type Failure = { test: string; reason: string }

/** How many tests ended how; those that failed, and those that failed at first and passed alone. */
export type Tally = {
  passed: number
  failed: number
  skipped: number
  failures: readonly Failure[]
  unsteady: readonly Failure[]
}

export const noTests: Tally = { passed: 0, failed: 0, skipped: 0, failures: [], unsteady: [] }

/** What is no test and went wrong all the same. */
export const aFailure = (what: string): Tally => ({
  ...noTests,
  failed: 1,
  failures: [{ test: what, reason: '' }],
})

export function addTallies(a: Tally, b: Tally): Tally {
  return {
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
    failures: [...a.failures, ...b.failures],
    unsteady: [...a.unsteady, ...b.unsteady],
  }
}

/** The tally of a run whose failed tests, and others of their files, ran again: the second result counts. */
export function afterSecondRun(first: Tally, second: Tally): Tally {
  const { failed, failures } = second
  const failedAgain = new Set(failures.map(({ test }) => test))
  return {
    ...first,
    passed: first.passed + first.failed - failed,
    ...{ failed, failures },
    unsteady: first.failures.filter(({ test }) => !failedAgain.has(test)),
  }
}

/** One line for each test that deserves a look. */
export function reportLines({ failures, unsteady }: Tally): string[] {
  const line = ({ test, reason }: Failure) => (reason === '' ? test : `${test}: ${reason}`)
  return [
    ...unsteady.map((each) => `Passed only when run again, alone: ${line(each)}`),
    ...failures.map((each) => `Failed: ${line(each)}`),
  ]
}

/** `3 passed, 0 failed` or `3 passed, 0 failed, 1 skipped`. */
export function summaryLine({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}

const fileOf = (folder: string, command: string) => join(folder, `${command}.tally.json`)

/** Leaves the tally of a command to `summary.ts`. */
export async function writeTally(folder: string, command: string, tally: Tally): Promise<void> {
  await writeFile(fileOf(folder, command), JSON.stringify(tally))
}

/** The tally that a command has left. One that left none has failed. */
export async function readTally(folder: string, command: string): Promise<Tally> {
  const json = await readFile(fileOf(folder, command), 'utf8').catch(() => undefined)
  // `writeTally` wrote it in this run.
  return json ? (JSON.parse(json) as Tally) : aFailure(`${command} ended without a result`)
}

type VitestReport = {
  testResults: {
    name: string
    status: string
    message?: string
    assertionResults: { status: string; fullName: string; failureMessages?: string[] }[]
  }[]
}

/** From vitest's JSON report. A file that could not even be loaded is one failure. */
export function tallyOfVitest(json: string): Tally {
  // The reporter that we ask for by name writes this form.
  const { testResults } = JSON.parse(json) as VitestReport
  const tally = { ...noTests, failures: [] as Failure[] }
  for (const file of testResults) {
    const failures = file.assertionResults
      .filter(({ status }) => status === 'failed')
      .map(({ fullName, failureMessages = [] }) =>
        withReason(`${file.name} > ${fullName}`, failureMessages[0]),
      )
    if (file.status === 'failed' && failures.length === 0)
      failures.push(withReason(file.name, file.message))
    tally.failures.push(...failures)
    tally.failed += failures.length
    const ends = file.assertionResults.map(({ status }) => status)
    tally.passed += ends.filter((end) => end === 'passed').length
    tally.skipped += ends.filter((end) => end !== 'passed' && end !== 'failed').length
  }
  return tally
}

/** From pytest's JUnit report. A test that failed in its fixtures is an error there, a failure here. */
export function tallyOfPytest(xml: string): Tally {
  const tally = { ...noTests, failures: failedCases(xml) }
  for (const [suite] of xml.matchAll(/<testsuite\s[^>]*>/g)) {
    const count = (name: string) => Number(new RegExp(`\\s${name}="(\\d+)"`).exec(suite)?.[1] ?? 0)
    const failed = count('failures') + count('errors')
    tally.failed += failed
    tally.skipped += count('skipped')
    tally.passed += count('tests') - failed - count('skipped')
  }
  return tally
}

/** The files of vitest's JSON report in which a test failed. */
export function failedFilesOfVitest(json: string): string[] {
  const { testResults } = JSON.parse(json) as VitestReport
  return testResults.filter(({ status }) => status === 'failed').map(({ name }) => name)
}

/** Pytest's failed tests: each `<testcase>` that holds a failure or an error. */
function failedCases(xml: string): Failure[] {
  const cases = xml.matchAll(/<testcase\s([^>]*[^/])>\s*<(?:failure|error)\s([^>]*)>/g)
  const attribute = (attributes: string, name: string) =>
    new RegExp(`(?:^|\\s)${name}="([^"]*)"`).exec(attributes)?.[1]
  return Array.from(cases, ([, test = '', failure = '']) =>
    withReason(
      [attribute(test, 'classname'), attribute(test, 'name')].join(' > '),
      attribute(failure, 'message')?.replaceAll('&#10;', '\n'),
    ),
  )
}

const reasonMaxCharacters = 400

/** Enough to tell a mistake from a wait that a busy machine lost, where no more of the output is kept. */
function withReason(test: string, message = ''): Failure {
  const reason = message.trim().split(/\n\s+at |\n\n/, 1)[0] ?? ''
  return { test, reason: reason.slice(0, reasonMaxCharacters) }
}
