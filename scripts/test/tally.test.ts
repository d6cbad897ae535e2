import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import {
  addTallies,
  aFailure,
  readTally,
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
    failures: ['b.test.ts > group three: Error: 1 is not 2', 'c.test.ts: no such module'],
  })
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
    failures: ['tests.a > test_wrong[1]: x', 'tests.b > test_unready: x'],
  })
})

test('mentions skipped tests only if there are any', () => {
  const none = { passed: 2, failed: 0, skipped: 0, failures: [] }
  expect(summaryLine(none)).toBe('2 passed, 0 failed')
  expect(summaryLine(addTallies(none, { passed: 1, failed: 1, skipped: 4, failures: ['a'] }))).toBe(
    '3 passed, 1 failed, 4 skipped',
  )
})

test('adds up what several commands have left, and one that left nothing has failed', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'avatar-tally-'))
  try {
    await writeTally(folder, 'test', { passed: 3, failed: 0, skipped: 2, failures: [] })
    await writeTally(folder, 'containers', aFailure('an image could not be built'))
    const sum = addTallies(await readTally(folder, 'test'), await readTally(folder, 'containers'))
    expect(summaryLine(sum)).toBe('3 passed, 1 failed, 2 skipped')
    expect(sum.failures).toEqual(['an image could not be built'])
    expect(await readTally(folder, 'other')).toMatchObject({ passed: 0, failed: 1 })
  } finally {
    await rm(folder, { recursive: true })
  }
})
