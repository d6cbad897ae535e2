import { describe, expect, it } from 'vitest'
import {
  heldBackBy,
  isServiceBudgetSpent,
  ownerRefusal,
  type QuotaAccount,
  serviceRefusal,
} from './quotas.ts'

const owner = 'o_abcDEF123456'
const nowMs = Date.parse('2026-11-29T18:00:00Z')
const charged = (gpuSeconds: number, micros: number) => ({ gpuSeconds, micros })

/** An owner with one job of 10 s, at 100 millionths a second, that was charged 60 s and 5,000 today. */
function account(difference: Partial<QuotaAccount> = {}): QuotaAccount {
  return {
    nowMs,
    usage: {
      chargedTo: (_, period) => (period.length === 10 ? charged(60, 5_000) : charged(600, 50_000)),
      spentOn: () => charged(100, 9_000),
    },
    open: { jobs: 1, renders: 0, estimatedSeconds: 10 },
    openOfAll: { jobs: 7, renders: 2, estimatedSeconds: 70 },
    dearestMicros: 100,
    nextEndSeconds: 0,
    nextEndOfAllSeconds: 0,
    ...difference,
  }
}

describe('the quota of an owner', () => {
  const refused = (limits: Parameters<typeof ownerRefusal>[1], seconds = 0, known = account()) =>
    ownerRefusal(owner, limits, known, seconds)

  it('lets everybody in who has no limits', () => {
    expect(refused({}, 1e9)).toBeUndefined()
  })

  it('counts unfinished jobs, and names when the next one should end, from a second to an hour', () => {
    expect(refused({ unfinishedJobs: 2 })).toBeUndefined()
    const full = (nextEndSeconds: number) =>
      refused({ unfinishedJobs: 1 }, 0, account({ nextEndSeconds }))
    expect(full(90.2)).toEqual({
      code: 'TOO_MANY_JOBS',
      details: { limit: 1, used: 1 },
      retryAfterMs: 91_000,
    })
    expect([full(0)?.retryAfterMs, full(1e6)?.retryAfterMs]).toEqual([1_000, 3_600_000])
  })

  it('adds up what is spent, what is committed and this job: the last second fits', () => {
    expect(refused({ gpuSecondsPerDay: 75 }, 5)).toBeUndefined()
    expect(refused({ gpuSecondsPerDay: 75 }, 5.1)).toEqual({
      code: 'GPU_SECONDS_EXHAUSTED',
      details: {
        ...{ limit: 75, spent: 60, committed: 10, estimated: 5.1 },
        resets_at: '2026-11-30T00:00:00.000Z',
      },
      retryAfterMs: 6 * 3_600_000,
    })
  })

  it('is refused before its length is known only where nothing is left', () => {
    expect(refused({ gpuSecondsPerDay: 70.1 })).toBeUndefined()
    expect(refused({ gpuSecondsPerDay: 70 })?.code).toBe('GPU_SECONDS_EXHAUSTED')
  })

  it('counts money at the dearest price, by the day and by the month', () => {
    expect(refused({ budgetPerDayMicros: 6_500, budgetPerMonthMicros: 51_500 }, 5)).toBeUndefined()
    expect(refused({ budgetPerDayMicros: 6_499 }, 5)).toEqual({
      code: 'BUDGET_EXHAUSTED',
      details: {
        ...{ period: 'day', limit: '0.006499', spent: '0.005', committed: '0.001' },
        ...{ estimated: '0.0005', resets_at: '2026-11-30T00:00:00.000Z' },
      },
    })
    expect(refused({ budgetPerMonthMicros: 51_499 }, 5)?.details).toMatchObject({
      ...{ period: 'month', spent: '0.05', resets_at: '2026-12-01T00:00:00.000Z' },
    })
  })

  it('lets jobs in that cost nothing, even under a budget of nothing', () => {
    const free = account({
      dearestMicros: 0,
      usage: { chargedTo: () => charged(60, 0), spentOn: () => charged(60, 0) },
    })
    expect(refused({ budgetPerDayMicros: 0 }, 5, free)).toBeUndefined()
  })
})

describe('the quota of the service', () => {
  it('counts the jobs of all owners, and names when the next one should end, up to ten minutes', () => {
    expect(serviceRefusal({ maxJobs: 8 }, account(), false)).toBeUndefined()
    const full = (nextEndOfAllSeconds: number) =>
      serviceRefusal({ maxJobs: 7 }, account({ nextEndOfAllSeconds }), false)
    expect(full(30)).toEqual({
      code: 'QUEUE_FULL',
      details: { limit: 7, used: 7 },
      retryAfterMs: 30_000,
    })
    expect([full(0)?.retryAfterMs, full(1e6)?.retryAfterMs]).toEqual([2_000, 600_000])
  })

  it('takes no jobs once the day is spent, unless a worker costs nothing', () => {
    const limits = { maxJobs: 100, budgetPerDayMicros: 9_000 }
    expect(serviceRefusal(limits, account(), false)).toMatchObject({
      code: 'SERVICE_BUDGET_EXHAUSTED',
      retryAfterMs: 6 * 3_600_000,
    })
    expect(serviceRefusal(limits, account(), true)).toBeUndefined()
    expect(isServiceBudgetSpent({ budgetPerDayMicros: 9_001 }, account().usage, nowMs)).toBe(false)
  })
})

describe('what holds an owner back from the next job', () => {
  const held = (limits: Parameters<typeof heldBackBy>[1], running = 0) =>
    heldBackBy(owner, limits, account().usage, running, nowMs)

  it('is the cap of its renders', () => {
    expect([held({ renders: 2 }, 1), held({ renders: 2 }, 2)]).toEqual([undefined, 'own_jobs'])
  })

  it('is a day or month that is spent, whatever is still committed', () => {
    expect(held({ gpuSecondsPerDay: 60 })).toBe('budget')
    expect(held({ budgetPerDayMicros: 5_000 })).toBe('budget')
    expect(held({ budgetPerMonthMicros: 50_000 })).toBe('budget')
    expect(
      held({ gpuSecondsPerDay: 61, budgetPerDayMicros: 5_001, budgetPerMonthMicros: 50_001 }),
    ).toBeUndefined()
  })
})
