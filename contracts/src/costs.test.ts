import { describe, expect, it } from 'vitest'
import { aJobPosting, aSpent, aWorkerPosting } from '../testing/index.ts'
import { billDifference } from './bills.ts'
import { costSplits, costsOf, workerCostOn } from './costs.ts'
import type { Posting } from './postings.ts'

const worker = (day: string, difference: Parameters<typeof aWorkerPosting>[0]): Posting => ({
  ...{ kind: 'worker', day },
  body: aWorkerPosting(difference),
})
const postings: Posting[] = [
  { kind: 'job', day: '2026-11-01', body: aJobPosting() },
  {
    ...{ kind: 'job', day: '2026-11-02' },
    body: aJobPosting({
      owner: 'acme',
      attempts: [
        aSpent({ gpuSeconds: 4, micros: 2_120, end: 'lost', isCharged: false }),
        aSpent({ epoch: 2, gpuSeconds: 20, micros: 10_600 }),
      ],
    }),
  },
  { kind: 'job', day: '2026-12-01', body: aJobPosting() },
  worker('2026-10-31', { loadingSeconds: 60, idleSeconds: 40 }),
  worker('2026-11-01', { loadingSeconds: 60, idleSeconds: 90, renderingSeconds: 10 }),
  worker('2026-11-02', { loadingSeconds: 60, idleSeconds: 100, renderingSeconds: 40 }),
]

const seconds = (by: Parameters<typeof costsOf>[2]) =>
  costsOf(postings, '2026-11', by).rows.map(
    ({ name, charged, ours, coldStart, idle, waste, total }) => [
      name,
      ...[charged, ours, coldStart, idle, waste, total].map(({ gpuSeconds }) => gpuSeconds),
    ],
  )

describe('the costs of a month', () => {
  it('have a row for each day', () => {
    expect(seconds('day')).toEqual([
      ['2026-11-01', 10, 0, 0, 50, 0, 60],
      ['2026-11-02', 20, 4, 0, 10, 6, 40],
    ])
  })

  it('have a row for each owner, and one for what belongs to none', () => {
    expect(seconds('owner')).toEqual([
      ['', 0, 0, 0, 60, 6, 66],
      ['acme', 20, 4, 0, 0, 0, 24],
      ['o_abcDEF123456', 10, 0, 0, 0, 0, 10],
    ])
  })

  it('have a row for each pool and each end of attempts', () => {
    expect(seconds('pool')).toEqual([['l40s', 30, 4, 0, 60, 6, 100]])
    expect(seconds('end')).toEqual([
      ['', 0, 0, 0, 60, 6, 66],
      ['completed', 30, 0, 0, 0, 0, 30],
      ['lost', 0, 4, 0, 0, 0, 4],
    ])
  })

  it.each(costSplits)('add up to what the workers cost, by %s', (by) => {
    const { rows, total } = costsOf(postings, '2026-11', by)
    expect(total.total).toEqual({ gpuSeconds: 100, micros: 53_000 })
    expect(rows.reduce((sum, row) => sum + row.total.micros, 0)).toBe(total.total.micros)
  })

  it('show no waste below zero where workers tell their time late, or not at all', () => {
    const { total } = costsOf(postings.slice(0, 2), '2026-11', 'day')
    expect([total.waste.gpuSeconds, total.total.gpuSeconds]).toEqual([0, 34])
  })

  it("are compared with a bill by the workers' own clocks", () => {
    expect(workerCostOn(postings, '2026-11-02', 'l40s')).toEqual({ gpuSeconds: 40, micros: 21_200 })
    expect(workerCostOn(postings, '2026-11-02', 'h200')).toEqual({ gpuSeconds: 0, micros: 0 })
  })
})

describe('a bill', () => {
  it.each([
    [100, 100, 0],
    [100, 95, 0.05],
    [100, 110, 0.1],
    [0, 0, 0],
    [0, 7, 1],
  ])('of %i is apart from workers who cost %i by %d', (bill, workers, ratio) => {
    expect(billDifference(bill, workers)).toBe(ratio)
  })
})
