import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { aJob, aJobPosting, aSpent, aWorkerPosting } from '../testing/index.ts'
import {
  findPosting,
  nextDayMs,
  nextMonthMs,
  type Posting,
  workerPostingsBefore,
} from './postings.ts'
import { subjects } from './subjects.ts'
import { chargedOf, committedOf, usageOf } from './usage.ts'

const alice = 'o_abcDEF123456'
const job = (day: string, difference: Parameters<typeof aJobPosting>[0] = {}): Posting => ({
  kind: 'job',
  day,
  body: aJobPosting(difference),
})
const worker = (day: string, difference: Parameters<typeof aWorkerPosting>[0] = {}): Posting => ({
  kind: 'worker',
  day,
  body: aWorkerPosting(difference),
})

describe('a posting', () => {
  it('is known by its subject, which has the day', () => {
    const body = aJobPosting()
    const subject = subjects.jobPosting('2026-11-29', body.owner, body.jobId)
    expect(findPosting(subject, body)).toEqual({ kind: 'job', day: '2026-11-29', body })
    const posted = aWorkerPosting()
    expect(findPosting(subjects.workerPosting('2026-11-30', 'w', 'i'), posted)).toEqual({
      ...{ kind: 'worker', day: '2026-11-30', body: posted },
    })
  })

  it('that follows no schema is none', () => {
    expect(findPosting(subjects.jobPosting('2026-11-29', alice, 'x'), { jobId: 'x' })).toBe(
      undefined,
    )
    expect(findPosting('ledger.other.2026-11.29.x', {})).toBe(undefined)
  })

  it('of a worker before a month has the month before in its subject', () => {
    expect(workerPostingsBefore('2026-01')).toBe('ledger.worker.2025-12.>')
  })

  it('has a day and a month that end at midnight UTC', () => {
    const at = Date.parse('2026-12-31T23:59:59.999Z')
    expect(nextDayMs(at)).toBe(Date.parse('2027-01-01'))
    expect(nextMonthMs(at)).toBe(Date.parse('2027-01-01'))
    expect(nextMonthMs(Date.parse('2027-01-01'))).toBe(Date.parse('2027-02-01'))
  })
})

describe('what an owner is charged', () => {
  it('counts by day and month, without what is ours and what others spend', () => {
    const ours = aSpent({ gpuSeconds: 7, micros: 3_710, end: 'lost', isCharged: false })
    const usage = usageOf([
      job('2026-11-29', { attempts: [ours, aSpent({ epoch: 2 })] }),
      job('2026-11-30'),
      job('2026-11-30', { owner: 'acme' }),
      job('2026-12-01'),
    ])
    expect(usage.chargedTo(alice, '2026-11-29')).toEqual({ gpuSeconds: 10, micros: 5_300 })
    expect(usage.chargedTo(alice, '2026-11')).toEqual({ gpuSeconds: 20, micros: 10_600 })
    expect(usage.chargedTo(alice, '2026-12-02')).toEqual({ gpuSeconds: 0, micros: 0 })
    expect(usage.spentOn('2026-11-29')).toEqual({ gpuSeconds: 17, micros: 9_010 })
  })

  it('for a job is the sum of the attempts that are charged', () => {
    const spent = [aSpent({ isCharged: false }), aSpent({ gpuSeconds: 3, micros: 9 })]
    expect(chargedOf(aJob({ spent }))).toEqual({ gpuSeconds: 3, micros: 9 })
    expect(chargedOf(aJob())).toEqual({ gpuSeconds: 0, micros: 0 })
  })
})

describe('what the service spends on a day', () => {
  it('includes cold starts and idle time, each day less the one before', () => {
    const usage = usageOf([
      worker('2026-11-29', { loadingSeconds: 60, idleSeconds: 100, renderingSeconds: 999 }),
      worker('2026-11-30', { loadingSeconds: 60, idleSeconds: 130, renderingSeconds: 999 }),
    ])
    expect(usage.spentOn('2026-11-29')).toEqual({ gpuSeconds: 160, micros: 160 * 530 })
    expect(usage.spentOn('2026-11-30')).toEqual({ gpuSeconds: 30, micros: 30 * 530 })
    expect(usage.spentToDateIn('2026-11-29').gpuSeconds).toBe(160)
    expect(usage.spentToDateIn('2026-11-30').gpuSeconds).toBe(190)
  })

  it('counts only the latest posting of a worker and day, and each incarnation on its own', () => {
    const usage = usageOf([
      worker('2026-11-29', { idleSeconds: 10 }),
      worker('2026-11-29', { idleSeconds: 50 }),
      worker('2026-11-29', { idleSeconds: 5, incarnation: 'second' }),
    ])
    expect(usage.spentOn('2026-11-29').gpuSeconds).toBe(55)
  })
})

describe('the latest bill of a pool', () => {
  const bill = (day: string, micros: number): Posting => ({
    ...{ kind: 'bill', day },
    body: { pool: 'l40s', day, micros, currency: 'USD' },
  })

  it('is compared with what its workers cost on that day', () => {
    const usage = usageOf([
      worker('2026-11-28', { idleSeconds: 100 }),
      worker('2026-11-29', { loadingSeconds: 20, idleSeconds: 150, renderingSeconds: 30 }),
      worker('2026-11-29', { idleSeconds: 9, pool: 'local', workerId: 'other' }),
      bill('2026-11-29', 106_000),
      bill('2026-11-28', 1),
    ])
    expect(usage.billDifferences()).toEqual([{ pool: 'l40s', ratio: 0.5 }])
    expect(usageOf([]).billDifferences()).toEqual([])
  })
})

describe('what unfinished jobs commit', () => {
  it('is their estimates at the dearest price', () => {
    const of = (estimatedSeconds: number) => committedOf({ estimatedSeconds }, 1_000)
    expect(of(10.5)).toEqual({ gpuSeconds: 10.5, micros: 10_500 })
    expect(of(0)).toEqual({ gpuSeconds: 0, micros: 0 })
  })
})

describe('the account of any postings', () => {
  const days = ['2026-11-28', '2026-11-29', '2026-11-30']
  const owners = [alice, 'acme', 'o_000000000000']
  const attempt = fc.record({
    gpuSeconds: fc.integer({ min: 0, max: 1_000 }),
    micros: fc.nat(1_000_000),
    isCharged: fc.boolean(),
  })
  const jobs = fc.array(
    fc.record({
      day: fc.constantFrom(...days),
      owner: fc.constantFrom(...owners),
      attempts: fc.array(attempt, { maxLength: 4 }),
    }),
  )
  const asPosting = (made: {
    day: string
    owner: string
    attempts: Parameters<typeof aSpent>[0][]
  }) => job(made.day, { owner: made.owner, attempts: made.attempts.map((each) => aSpent(each)) })

  it('has the same sums in any order, and its days add up to its months', () => {
    fc.assert(
      fc.property(jobs, fc.nat(), (made, cut) => {
        const postings = made.map(asPosting)
        const at = cut % (postings.length + 1)
        const turned = usageOf([...postings.slice(at), ...postings.slice(0, at)])
        const usage = usageOf(postings)
        for (const owner of owners) {
          const byDay = days.map((day) => usage.chargedTo(owner, day))
          expect(turned.chargedTo(owner, '2026-11')).toEqual(usage.chargedTo(owner, '2026-11'))
          expect(byDay.reduce((sum, { micros }) => sum + micros, 0)).toBe(
            usage.chargedTo(owner, '2026-11').micros,
          )
        }
        const everything = made.flatMap(({ attempts }) => attempts)
        expect(days.reduce((sum, day) => sum + usage.spentOn(day).micros, 0)).toBe(
          everything.reduce((sum, { micros }) => sum + micros, 0),
        )
      }),
    )
  })

  it("books each of a worker's seconds on one day, however often it was posted", () => {
    const growth = fc.array(fc.record({ day: fc.nat(2), idleSeconds: fc.nat(500) }))
    fc.assert(
      fc.property(growth, (steps) => {
        let idleSeconds = 0
        const postings = steps
          .toSorted((a, b) => a.day - b.day)
          .map((step) => {
            idleSeconds += step.idleSeconds
            return worker(days[step.day] ?? '', { idleSeconds })
          })
        const usage = usageOf(postings)
        const booked = days.reduce((sum, day) => sum + usage.spentOn(day).gpuSeconds, 0)
        expect(booked).toBe(idleSeconds)
      }),
    )
  })
})
