import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import {
  addTallies,
  aFailure,
  afterSecondRun,
  failedFilesOfVitest,
  noTests,
  readTally,
  reportLines,
  summaryLine,
  tallyOfPytest,
  tallyOfVitest,
  writeTally,
} from './tally.ts'

test('counts a file that could not be loaded as one failure, and names what failed', () => {
  const report = JSON.stringify({
    testResults: [
      {
        name: 'a.test.ts',
        status: 'passed',
        assertionResults: [
          { status: 'passed', fullName: 'one' },
          { status: 'pending', fullName: 'two' },
        ],
      },
      {
        name: 'b.test.ts',
        status: 'failed',
        assertionResults: [
          {
            status: 'failed',
            fullName: 'group three',
            failureMessages: ['Error: 1 is not 2\n    at b.test.ts:1:1'],
          },
          { status: 'passed', fullName: 'four' },
        ],
      },
      { name: 'c.test.ts', status: 'failed', message: 'no such module', assertionResults: [] },
    ],
  })
  expect(tallyOfVitest(report)).toEqual({
    passed: 2,
    failed: 2,
    skipped: 1,
    failures: [
      { test: 'b.test.ts > group three', reason: 'Error: 1 is not 2' },
      { test: 'c.test.ts', reason: 'no such module' },
    ],
    unsteady: [],
  })
  expect(failedFilesOfVitest(report)).toEqual(['b.test.ts', 'c.test.ts'])
})

test('counts a broken fixture of pytest as a failure, and names what failed', () => {
  const report =
    '<?xml version="1.0"?><testsuites name="pytest tests"><testsuite name="pytest" errors="1" ' +
    'failures="1" skipped="3" tests="9" time="0.1" hostname="x">' +
    '<testcase classname="tests.a" name="test_fine" time="0.1" />' +
    '<testcase classname="tests.a" name="test_wrong[1]" time="0.1"><failure message="x">y</failure></testcase>' +
    '<testcase classname="tests.b" name="test_unready" time="0.1"><error message="x">y</error></testcase>' +
    '</testsuite></testsuites>'
  expect(tallyOfPytest(report)).toEqual({
    passed: 4,
    failed: 2,
    skipped: 3,
    failures: [
      { test: 'tests.a > test_wrong[1]', reason: 'x' },
      { test: 'tests.b > test_unready', reason: 'x' },
    ],
    unsteady: [],
  })
})

test('takes the second result of what failed at first, and names what only then passed', () => {
  const failure = (test: string) => ({ test, reason: 'too late' })
  const first = { ...noTests, passed: 7, failed: 2, failures: ['slow', 'wrong'].map(failure) }
  const second = { ...noTests, passed: 3, failed: 1, failures: [failure('wrong')] }
  const both = afterSecondRun(first, second)
  expect(summaryLine(both)).toBe('8 passed, 1 failed')
  expect(reportLines(both)).toEqual([
    'Passed only when run again, alone: slow: too late',
    'Failed: wrong: too late',
  ])
  const calm = afterSecondRun(first, { ...noTests, passed: 5 })
  expect(summaryLine(calm)).toBe('9 passed, 0 failed')
  expect(calm.unsteady).toEqual(first.failures)
})

test('mentions skipped tests only if there are any', () => {
  const none = { ...noTests, passed: 2 }
  expect(summaryLine(none)).toBe('2 passed, 0 failed')
  const more = addTallies(none, { ...aFailure('a'), passed: 1, skipped: 4 })
  expect(summaryLine(more)).toBe('3 passed, 1 failed, 4 skipped')
})

test('adds up what several commands have left, and one that left nothing has failed', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'avatar-tally-'))
  try {
    await writeTally(folder, 'test', { ...noTests, passed: 3, skipped: 2 })
    await writeTally(folder, 'containers', aFailure('an image could not be built'))
    const sum = addTallies(await readTally(folder, 'test'), await readTally(folder, 'containers'))
    expect(summaryLine(sum)).toBe('3 passed, 1 failed, 2 skipped')
    expect(reportLines(sum)).toEqual(['Failed: an image could not be built'])
    expect(await readTally(folder, 'other')).toMatchObject({ passed: 0, failed: 1 })
  } finally {
    await rm(folder, { recursive: true })
  }
})
