import { loadConfig } from '@avatar/service-kit'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { priceConfig, retentionConfig } from './config.ts'
import { defaultLimitsOf, quotaConfig, rateConfig } from './limit-config.ts'

describe('the retention', () => {
  it.each([
    ['0.0005', true],
    ['1.5', true],
    ['168', true],
    ['0', false],
    ['-1', false],
    ['169', false],
    ['six', false],
  ])('may be %s hours: %s', (VIDEO_RETENTION_HOURS, isFine) => {
    const load = () => loadConfig(z.object(retentionConfig), { VIDEO_RETENTION_HOURS })
    if (isFine) expect(load().VIDEO_RETENTION_HOURS).toBe(Number(VIDEO_RETENTION_HOURS))
    else expect(load).toThrow('VIDEO_RETENTION_HOURS')
  })

  it('is six hours by default', () => {
    expect(loadConfig(z.object(retentionConfig), {}).VIDEO_RETENTION_HOURS).toBe(6)
  })
})

describe('the prices', () => {
  it('are none by default, in dollars', () => {
    expect(loadConfig(z.object(priceConfig), {})).toEqual({ POOL_PRICES: {}, CURRENCY: 'USD' })
  })

  it('are read for each pool', () => {
    const { POOL_PRICES } = loadConfig(z.object(priceConfig), { POOL_PRICES: 'l40s=0.00053' })
    expect(POOL_PRICES).toEqual({ l40s: 530 })
  })

  it('stop the service when one is wrong, and name the entry', () => {
    const load = (env: Record<string, string>) => () => loadConfig(z.object(priceConfig), env)
    expect(load({ POOL_PRICES: 'l40s=cheap' })).toThrow('"cheap" is no amount')
    expect(load({ CURRENCY: 'euro' })).toThrow('CURRENCY')
  })
})

describe('the default limits of owners', () => {
  const load = (env: Record<string, string>) =>
    defaultLimitsOf(loadConfig(z.object({ ...rateConfig, ...quotaConfig }), env))

  it('are the rates, the unfinished jobs and one share, and nothing else', () => {
    expect(load({})).toEqual({
      ...{ submitsPerMinute: 120, submitBurst: 100, readsPerMinute: 3_000, readBurst: 600 },
      ...{ unfinishedJobs: 2_000, share: 1 },
    })
  })

  it('are read in the units that people write', () => {
    expect(load({ LIMIT_BUDGET_PER_DAY: '12.5', LIMIT_GPU_SECONDS_PER_DAY: '90.5' })).toMatchObject(
      {
        ...{ budgetPerDayMicros: 12_500_000, gpuSecondsPerDay: 90.5 },
      },
    )
  })

  it.each([
    ['LIMIT_SHARE', '0'],
    ['LIMIT_SHARE', '101'],
    ['LIMIT_RENDERS', 'many'],
    ['LIMIT_BUDGET_PER_MONTH', '-5'],
  ])('stop the service where %s is %s', (name, value) => {
    expect(() => load({ [name]: value })).toThrow(name)
  })
})
