import { dayOf, nextDayMs, nextMonthMs, type OwnerLimits, subjects } from '@avatar/contracts'
import { aJobPosting, aSpent } from '@avatar/contracts/testing'
import { openOwnerLimits } from '@avatar/job-kit'
import { until } from '@avatar/service-kit/testing'
import { describe, expect, it } from 'vitest'
import { useRestWorld } from './rest-world.ts'

const world = useRestWorld({
  env: {
    ...{ POOL_PRICES: 'l40s=0.001,local=0', CURRENCY: 'EUR' },
    ...{ LIMIT_BUDGET_PER_DAY: '12.5', LIMIT_GPU_SECONDS_PER_DAY: '600' },
    ...{ LIMIT_SUBMITS_PER_MINUTE: '1', LIMIT_SUBMIT_BURST: '100' },
    ...{ LIMIT_READS_PER_MINUTE: '1', LIMIT_READ_BURST: '600' },
  },
})
const unpriced = useRestWorld()

type Answer = { status: number; body: Record<string, never> }
const dataOf = (answer: Answer) => answer.body['data'] as unknown as Record<string, unknown>

describe('GET /usage', () => {
  it('shows the defaults, and when the periods end', async () => {
    const someone = await world.createKey()
    const nowMs = Date.now()
    const answer = await world.call('/usage', { headers: someone.headers })
    expect(answer.status).toBe(200)
    const none = { used: '0.00', committed: '0.00' }
    expect(dataOf(answer)).toEqual({
      submits: { per_minute: 1, burst: 100, used: 0 },
      reads: { per_minute: 1, burst: 600, used: 1 },
      unfinished_jobs: { limit: 2_000, used: 0 },
      renders: { limit: null, used: 0 },
      gpu_seconds_per_day: {
        ...{ limit: 600, used: 0, committed: 0 },
        resets_at: new Date(nextDayMs(nowMs)).toISOString(),
      },
      budget_per_day: {
        ...{ limit: '12.50', ...none },
        resets_at: new Date(nextDayMs(nowMs)).toISOString(),
      },
      budget_per_month: {
        ...{ limit: null, ...none },
        resets_at: new Date(nextMonthMs(nowMs)).toISOString(),
      },
      ...{ currency: 'EUR', share: 1 },
    })
  })

  it('counts what is charged and what unfinished jobs commit, of the caller alone', async () => {
    const { owner, headers } = await world.createKey()
    const other = await world.createKey()
    await world.putJob({ owner, state: 'rendering', estimatedSeconds: 100 })
    await world.putJob({ owner, state: 'storing', estimatedSeconds: 20 })
    await world.putJob({ owner, state: 'completed', estimatedSeconds: 1_000 })
    const day = dayOf(Date.now())
    const attempts = [
      aSpent({ gpuSeconds: 5, micros: 5_000, end: 'lost', isCharged: false }),
      aSpent({ gpuSeconds: 30, micros: 30_000 }),
    ]
    const posting = aJobPosting({ owner, attempts })
    await world.operator.publish(subjects.jobPosting(day, owner, posting.jobId), posting)
    const seen = await until(async () => {
      const usage = dataOf(await world.call('/usage', { headers }))
      return expect.objectContaining({ used: 30 }).asymmetricMatch(usage.gpu_seconds_per_day)
        ? usage
        : undefined
    })
    expect(seen).toMatchObject({
      unfinished_jobs: { used: 2 },
      renders: { used: 1 },
      gpu_seconds_per_day: { used: 30, committed: 120 },
      budget_per_day: { used: '0.03', committed: '0.12' },
      budget_per_month: { used: '0.03', committed: '0.12' },
    })
    expect(dataOf(await world.call('/usage', { headers: other.headers }))).toMatchObject({
      ...{ unfinished_jobs: { used: 0 }, budget_per_month: { used: '0.00', committed: '0.00' } },
    })
  })

  it("shows the owner's own limits within five seconds", async () => {
    const { owner, headers } = await world.createKey()
    const limits: OwnerLimits = { renders: 2, share: 7, submitBurst: 3, budgetPerDayMicros: 0 }
    await (await openOwnerLimits(world.operator)).create(owner, limits)
    const seen = await until(
      async () => {
        const usage = dataOf(await world.call('/usage', { headers }))
        return usage.share === 7 ? usage : undefined
      },
      { timeoutMs: 5_000 },
    )
    expect(seen).toMatchObject({
      ...{ renders: { limit: 2 }, submits: { burst: 3 }, budget_per_day: { limit: '0.00' } },
    })
  })

  it('shows what is used of the rates', async () => {
    const { headers } = await world.createKey()
    await world.generate({}, headers)
    await world.generate({}, headers)
    const { submits, reads } = dataOf(await world.call('/usage', { headers }))
    expect(submits).toMatchObject({ used: 2 })
    expect(reads).toMatchObject({ used: 1 })
  })

  it('needs a key', async () => {
    expect((await fetch(`${world.url}/usage`)).status).toBe(401)
  })
})

describe('the cost of a job', () => {
  it('is estimated when it is accepted, at the highest price', async () => {
    const accepted = dataOf(await world.generate())
    const seconds = Number(accepted.estimated_seconds)
    const { amount, currency } = accepted.estimated_cost as Record<string, string>
    expect(Number(amount)).toBeCloseTo(seconds * 0.001, 3)
    expect(currency).toBe('EUR')
  })

  it('is what is charged of its attempts, and final when it has ended', async () => {
    const spent = [
      aSpent({ gpuSeconds: 5, micros: 5_000, end: 'failed', isCharged: false }),
      aSpent({ epoch: 2, gpuSeconds: 30.25, micros: 30_250 }),
    ]
    const costOf = async (job: { jobId: string }) =>
      dataOf(await world.call(`/status/${job.jobId}`)).cost
    expect(await costOf(await world.putJob({ state: 'completed', spent }))).toEqual({
      ...{ gpu_seconds: 30.3, amount: '0.03025', currency: 'EUR', is_final: true },
    })
    expect(await costOf(await world.putJob({ state: 'queued' }))).toEqual({
      ...{ gpu_seconds: 0, amount: '0.00', currency: 'EUR', is_final: false },
    })
  })

  it('is not told where no prices are configured', async () => {
    const accepted = dataOf(await unpriced.generate())
    expect(accepted.estimated_cost).toBe(null)
    expect(dataOf(await unpriced.call(`/status/${accepted.job_id}`)).cost).toBe(null)
  })
})
