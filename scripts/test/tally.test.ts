import { expect, test } from 'vitest'
import { addTallies, summaryLine, tallyOfPytest, tallyOfVitest } from './tally.ts'

test('counts a file that could not be loaded as one failure', () => {
  const report = JSON.stringify({
    testResults: [
      { status: 'passed', assertionResults: [{ status: 'passed' }, { status: 'pending' }] },
      { status: 'failed', assertionResults: [{ status: 'failed' }, { status: 'passed' }] },
      { status: 'failed', assertionResults: [] },
    ],
  })
  expect(tallyOfVitest(report)).toEqual({ passed: 2, failed: 2, skipped: 1 })
})

test('counts a broken fixture of pytest as a failure', () => {
  const report =
    '<?xml version="1.0"?><testsuites name="pytest tests"><testsuite name="pytest" errors="1" ' +
    'failures="2" skipped="3" tests="10" time="0.1" hostname="x"></testsuite></testsuites>'
  expect(tallyOfPytest(report)).toEqual({ passed: 4, failed: 3, skipped: 3 })
})

test('mentions skipped tests only if there are any', () => {
  const none = { passed: 2, failed: 0, skipped: 0 }
  expect(summaryLine(none)).toBe('2 passed, 0 failed')
  expect(summaryLine(addTallies(none, { passed: 1, failed: 1, skipped: 4 }))).toBe(
    '3 passed, 1 failed, 4 skipped',
  )
})
