/** How many tests ended how. */
export type Tally = { passed: number; failed: number; skipped: number }

export const noTests: Tally = { passed: 0, failed: 0, skipped: 0 }

export function addTallies(a: Tally, b: Tally): Tally {
  return {
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
  }
}

/** `3 passed, 0 failed` or `3 passed, 0 failed, 1 skipped`. */
export function summaryLine({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}

type VitestReport = {
  testResults: { status: string; assertionResults: { status: string }[] }[]
}

/** From vitest's JSON report. A file that could not even be loaded is one failure. */
export function tallyOfVitest(json: string): Tally {
  // The reporter that we ask for by name writes this form.
  const { testResults } = JSON.parse(json) as VitestReport
  const tally = { ...noTests }
  for (const file of testResults) {
    const ends = file.assertionResults.map(({ status }) => status)
    tally.passed += ends.filter((end) => end === 'passed').length
    const failed = ends.filter((end) => end === 'failed').length
    tally.failed += failed === 0 && file.status === 'failed' ? 1 : failed
    tally.skipped += ends.filter((end) => end !== 'passed' && end !== 'failed').length
  }
  return tally
}

/** From pytest's JUnit report. A test that failed in its fixtures is an error there, a failure here. */
export function tallyOfPytest(xml: string): Tally {
  const tally = { ...noTests }
  for (const [suite] of xml.matchAll(/<testsuite\s[^>]*>/g)) {
    const count = (name: string) => Number(new RegExp(`\\s${name}="(\\d+)"`).exec(suite)?.[1] ?? 0)
    const failed = count('failures') + count('errors')
    tally.failed += failed
    tally.skipped += count('skipped')
    tally.passed += count('tests') - failed - count('skipped')
  }
  return tally
}
