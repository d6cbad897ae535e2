import { expect, it } from 'vitest'
import { type Aim, judge } from './aims.ts'

const quick: Aim = { what: 'status p95', value: 12.64, unit: ' ms', bound: 50 }
const many: Aim = { what: 'drained', value: 49.9, unit: ' a second', isAtLeast: true, bound: 50 }

it('an aim is met up to its bound, and one that is not says so', () => {
  expect(judge([quick, { ...many, value: 50 }]).isMet).toBe(true)
  const { isMet, line, rows } = judge([{ ...quick, value: 50 }, many])
  expect(isMet).toBe(false)
  expect(line).toBe('status p95 50.0 ms (≤ 50 ms), drained 49.9 a second (NOT ≥ 50 a second)')
  expect(rows[1]).toEqual(['drained', '49.9 a second', '≥ 50 a second', 'NO'])
})

it('a figure that nobody could measure meets nothing', () => {
  expect(judge([{ ...quick, value: Number.NaN }]).isMet).toBe(false)
})
