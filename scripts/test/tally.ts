import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** How many tests ended how, and the names of those that failed, each with the first words of its error. */
export type Tally = {
  passed: number
  failed: number
  skipped: number
  failures: readonly string[]
}

export const noTests: Tally = { passed: 0, failed: 0, skipped: 0, failures: [] }

/** What is no test and went wrong all the same. */
export const aFailure = (what: string): Tally => ({ ...noTests, failed: 1, failures: [what] })

export function addTallies(a: Tally, b: Tally): Tally {
  return {
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
    failures: [...a.failures, ...b.failures],
  }
}

/** `3 passed, 0 failed` or `3 passed, 0 failed, 1 skipped`. */
export function summaryLine({ passed, failed, skipped }: Omit<Tally, 'failures'>): string {
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
  const tally = { ...noTests, failures: [] as string[] }
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

/** The names of pytest's failed tests: each `<testcase>` that holds a failure or an error. */
function failedCases(xml: string): string[] {
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
function withReason(name: string, message = ''): string {
  const reason = message.trim().split(/\n\s+at |\n\n/, 1)[0] ?? ''
  return reason === '' ? name : `${name}: ${reason.slice(0, reasonMaxCharacters)}`
}
