import { expect, it } from 'vitest'
import { afterWarmUp, type Look, slopeOf } from './slopes.ts'

const looks = (mebibytes: (atSeconds: number) => number): Look[] =>
  Array.from({ length: 60 }, (_, at) => ({
    atSeconds: at * 10,
    mebibytes: mebibytes(at * 10),
    files: 20,
  }))

it('tells by how much something grows in ten minutes', () => {
  const growing = looks((atSeconds) => 100 + atSeconds / 60)
  expect(slopeOf(growing, ({ mebibytes }) => mebibytes)).toBeCloseTo(10)
  expect(slopeOf(growing, ({ files }) => files)).toBe(0)
  expect(slopeOf([], ({ files }) => files)).toBe(0)
})

it('leaves out the start', () => {
  const settled = looks((atSeconds) => Math.min(200, 100 + atSeconds))
  expect(slopeOf(settled, ({ mebibytes }) => mebibytes)).toBeGreaterThan(5)
  expect(slopeOf(afterWarmUp(settled), ({ mebibytes }) => mebibytes)).toBe(0)
})
