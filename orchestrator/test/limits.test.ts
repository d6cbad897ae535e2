import { dayOf, type JobRecord, subjects } from '@avatar/contracts'
import { aJobPosting } from '@avatar/contracts/testing'
import { type LimitRecords, openOwnerLimits } from '@avatar/job-kit'
import {
  createBrokerClock,
  createLog,
  createMetrics,
  loadConfig,
  type Metrics,
  stopInPhases,
  systemClock,
} from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildOrchestrator } from '../src/build-orchestrator.ts'
import { orchestratorConfigSchema } from '../src/config.ts'
import { createWorld, type World } from './world.ts'

let world: World
let limits: LimitRecords
let metrics: Metrics
let stop: () => Promise<void>

/** The orchestrator with the rules of its environment and of the stored limits, and no others. */
beforeAll(async () => {
  world = await createWorld()
  const bus = await world.connectAs('orchestrator')
  const log = createLog('orchestrator', 'silent')
  const clock = createBrokerClock({ bus, clock: systemClock, log })
  await clock.start()
  metrics = createMetrics('orchestrator')
  const config = loadConfig(orchestratorConfigSchema, {
    ...world.environment,
    POOL_PRICES: 'l40s=0.00053',
  })
  const { timings } = world
  const parts = await buildOrchestrator({
    ...{ config, log, bus, metrics, clock, agreement: clock, timings },
  })
  for (const part of parts.start) await part.start()
  limits = await openOwnerLimits(world.operator)
  stop = async () => {
    await stopInPhases(parts.stopPhases, systemClock, log)
    await clock.stop()
    await metrics.stop()
    await world.stop()
  }
})
afterAll(() => stop())

async function claims(job: JobRecord) {
  const worker = await world.createWorker()
  await worker.takes(job)
  return world.record(job)
}

describe('the limits of an owner', () => {
  it('let it render as many jobs at once as it may, and more once it may', async () => {
    const first = await world.queued({ createdAtMs: Date.now() - 1_000 })
    const { owner } = first
    const revision = await limits.create(owner, { renders: 1 })
    const second = await world.queued({ owner })
    expect(await claims(first)).toMatchObject({ state: 'claimed' })
    const worker = await world.createWorker('w2')
    expect(await worker.asks()).toEqual({ answer: 'none' })
    await limits.update(owner, { renders: 2 }, Number(revision))
    expect(await claims(second)).toMatchObject({ state: 'claimed' })
  })

  it('hold it back once its budget is spent, and let it go when the limit is raised', async () => {
    const job = await world.submit({ announce: false })
    const { owner } = job
    const posting = aJobPosting({ owner })
    const subject = subjects.jobPosting(dayOf(Date.now()), owner, posting.jobId)
    await world.operator.publish(subject, posting)
    const revision = await limits.create(owner, { budgetPerDayMicros: posting.charged.micros })
    await world.announceSubmission(job)
    await world.reaches(job, 'queued')
    const worker = await world.createWorker()
    expect(await worker.asks()).toEqual({ answer: 'none' })
    await limits.update(owner, { budgetPerDayMicros: 1_000_000 }, Number(revision))
    expect(await claims(job)).toMatchObject({ state: 'claimed' })
  })
})

describe('the metrics', () => {
  it('tell what today cost, and how far a bill is from the workers, without an owner', async () => {
    const day = dayOf(Date.now())
    const bill = { pool: 'spare', day, micros: 7, currency: 'USD' }
    await world.operator.publish(subjects.billPosting(day, 'spare'), bill)
    const scraped = await until(async () => {
      const text = await metrics.scrape()
      return /infinitetalk_bill_difference_ratio\{[^}]*pool="spare"[^}]*\} 1\b/.test(text) && text
    })
    expect(scraped).toMatch(/infinitetalk_usage_today_gpu_seconds \d/)
    expect(scraped).toMatch(/infinitetalk_usage_today_amount \d/)
    expect(scraped).not.toMatch(/o_[0-9A-Za-z]{12}/)
  })
})

describe('the price of a pool', () => {
  it('is kept with the attempt, and is in the posting of the job', async () => {
    const { job, worker } = await world.claimed()
    expect((await world.record(job))?.worker).toMatchObject({ pool: 'l40s', priceMicros: 530 })
    await world.cancel(job)
    await world.reaches(job, 'cancelling')
    await worker.reports('cancelled', job, 1, { gpuSeconds: 10 })
    await world.reaches(job, 'cancelled')
    const posted = await until(() => world.posting(job))
    expect(posted).toMatchObject({ charged: { gpuSeconds: 10, micros: 5_300 } })
  })
})
