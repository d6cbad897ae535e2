import { createUsage, type Posting } from '@avatar/contracts'
import { aJobPosting, aSpent, aWorkerPosting } from '@avatar/contracts/testing'
import { createMetrics, loadConfig, systemClock } from '@avatar/service-kit'
import { afterEach, describe, expect, it } from 'vitest'
import { orchestratorConfigSchema } from '../config.ts'
import { observeLedger } from './ledger-metrics.ts'

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

const job = (day: string, micros: number): Posting => ({
  ...{ kind: 'job', day },
  body: aJobPosting({ attempts: [aSpent({ gpuSeconds: 10, micros })] }),
})

/** What is told at noon of the second of the month; `read` says whether the ledger is read to its end. */
function observed(environment: Readonly<Record<string, string>>, read = { isWhole: true }) {
  const usage = createUsage()
  const worker = aWorkerPosting({ idleSeconds: 1_000, priceMicros: 1_000 })
  for (const posting of [
    job('2026-11-01', 2_000_000),
    job('2026-11-02', 500_000),
    { kind: 'worker', day: '2026-11-02', body: worker } as const,
  ])
    usage.note(posting)
  const config = loadConfig(orchestratorConfigSchema, {
    ...{ NATS_URL: 'nats://127.0.0.1:1', NATS_USER: 'orchestrator', NATS_PASSWORD: 'x' },
    ...{ S3_ENDPOINT: 'http://127.0.0.1:1', R2_BUCKET_NAME: 'bucket', METRICS_PORT: '0' },
    ...{ R2_ACCESS_KEY_ID: 'x', R2_SECRET_ACCESS_KEY: 'x', ...environment },
  })
  const metrics = createMetrics('orchestrator')
  stops.push(metrics.stop)
  const time = { nowMs: Date.parse('2026-11-02T12:00:00Z') }
  const clock = { ...systemClock, nowMs: () => time.nowMs }
  const nothing = async () => undefined
  const ledger = { start: nothing, stop: nothing, isReady: () => read.isWhole, usage: () => usage }
  observeLedger({ metrics, clock, config, ledger })
  const told = async () =>
    (await metrics.scrape())
      .split('\n')
      .filter((line) => /^infinitetalk_(cost|budget|usage)/.test(line))
      .map((line) => line.replace('infinitetalk_', ''))
  return { told, time }
}

describe('what the ledger says is spent', () => {
  it('is told of the day and of the month so far, with the budget of a day', async () => {
    const { told } = observed({ CURRENCY: 'USD', SERVICE_BUDGET_PER_DAY: '10' })
    expect(await told()).toEqual([
      'cost_usd{period="day"} 1.5',
      'cost_usd{period="month"} 3.5',
      'budget_usd{period="day"} 10',
      `cost_updated_timestamp_seconds ${Date.parse('2026-11-02T12:00:00Z') / 1000}`,
      'usage_today_gpu_seconds 1010',
      'usage_today_amount 1.5',
    ])
  })

  it('has no budget without one, and no dollars in another currency', async () => {
    expect((await observed({ CURRENCY: 'USD' }).told()).join()).not.toContain('budget')
    const { told } = observed({ CURRENCY: 'EUR', SERVICE_BUDGET_PER_DAY: '10' })
    expect(await told()).toEqual(['usage_today_gpu_seconds 1010', 'usage_today_amount 1.5'])
  })

  it('is as old as the ledger was last known to be read to its end', async () => {
    const read = { isWhole: false }
    const { told, time } = observed({ CURRENCY: 'USD' }, read)
    const updated = async () => (await told()).filter((line) => line.startsWith('cost_updated'))
    expect(await updated()).toEqual([])
    read.isWhole = true
    const atSeconds = time.nowMs / 1000
    expect(await updated()).toEqual([`cost_updated_timestamp_seconds ${atSeconds}`])
    read.isWhole = false
    time.nowMs += 60_000
    expect(await updated()).toEqual([`cost_updated_timestamp_seconds ${atSeconds}`])
  })
})
