import { expect, it } from 'vitest'
import { gapsBetween, markdownTable, quantile, summarise } from './statistics.ts'

it('computes quantiles by the nearest rank', () => {
  const hundred = Array.from({ length: 100 }, (_, at) => 100 - at)
  expect(summarise(hundred)).toEqual({ count: 100, median: 50, p95: 95 })
  expect(quantile([7], 0.95)).toBe(7)
  expect(quantile([], 0.5)).toBeNaN()
})

it('measures the gaps between spans in any order, and none where they overlap', () => {
  const spans = [
    { startMs: 50, endMs: 60 },
    { startMs: 0, endMs: 10 },
    { startMs: 12, endMs: 55 },
  ]
  expect(gapsBetween(spans)).toEqual([2, 0])
})

it('aligns the columns of a table', () => {
  expect(
    markdownTable(
      ['what', 'ms'],
      [
        ['a', '1.0'],
        ['longer', '22.0'],
      ],
    ),
  ).toBe('| what   |   ms |\n| ------ | ---: |\n| a      |  1.0 |\n| longer | 22.0 |\n')
})
