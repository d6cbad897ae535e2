import { scaledTimings } from '@avatar/contracts'
import { AppError, createLog, systemClock } from '@avatar/service-kit'
import { expect, it } from 'vitest'
import { createFailureLog } from './failure-log.ts'

function aFailureLog() {
  const lines: string[] = []
  let counted = 0
  const log = createLog('ingest', 'info', {
    destination: { write: (line: string) => void lines.push(line) },
    countFailure: () => void counted++,
  })
  let nowMs = 0
  const clock = { ...systemClock, monotonicMs: () => nowMs }
  const failureLog = createFailureLog({ clock, log, timings: scaledTimings(1) })
  const fail = (customer: string, code: AppError['code'] = 'UNAUTHORIZED') =>
    failureLog.write(log, new AppError(code), 'request refused', customer, { status: 401 })
  return {
    ...{ failureLog, fail },
    pass(ms: number) {
      nowMs += ms
      failureLog.runOnce()
    },
    counted: () => counted,
    /** The sentences, levels and counts since the last call. */
    told: () =>
      lines.splice(0).map((line) => {
        const { msg, level, count } = JSON.parse(line)
        return [msg, level, ...(count === undefined ? [] : [count])].join(' ')
      }),
  }
}

it('a flood from one address is one line, then one a minute with the count', () => {
  const { pass, fail, told, counted } = aFailureLog()
  for (let n = 0; n < 1_000; n++) fail('address')
  expect(told()).toEqual(['request refused info'])
  pass(59_000)
  expect(told()).toEqual([])
  pass(1_000)
  expect(told()).toEqual(['more requests failed alike info 999'])
  fail('address')
  pass(60_000)
  expect(told()).toEqual(['more requests failed alike info 1'])
  pass(60_000)
  fail('address')
  expect(told()).toEqual(['request refused info'])
  expect(counted()).toBe(1_002)
})

it('each customer and each code has a line of its own, at the level of the code', () => {
  const { fail, told } = aFailureLog()
  fail('one')
  fail('two')
  fail('one', 'BROKER_UNAVAILABLE')
  expect(told()).toEqual(['request refused info', 'request refused info', 'request refused warn'])
})

it('every unexpected failure has its line', () => {
  const { fail, told } = aFailureLog()
  fail('one', 'UNEXPECTED')
  fail('one', 'UNEXPECTED')
  expect(told()).toHaveLength(2)
})

it('more customers than are remembered lose no count, and the last counts are written at the end', async () => {
  const { failureLog, fail, told, counted } = aFailureLog()
  for (let n = 0; n < 1_500; n++) for (const _ of ['first', 'again']) fail(`address ${n}`)
  await failureLog.stop()
  const lines = told()
  expect(lines.filter((line) => line.startsWith('request refused'))).toHaveLength(1_500)
  expect(lines.filter((line) => line === 'more requests failed alike info 1')).toHaveLength(1_500)
  expect(counted()).toBe(3_000)
})
