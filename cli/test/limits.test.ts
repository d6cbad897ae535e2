import { randomUUID } from 'node:crypto'
import { jobKey } from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import { openJobRecords, openOwnerLimits, ownerLimits } from '@avatar/job-kit'
import { createLog, systemClock } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type BrokerOnly, startBroker } from './broker-only.ts'

let broker: BrokerOnly
beforeAll(async () => {
  broker = await startBroker()
})
afterAll(() => broker.stop())

type Shown = { name: string; limit: string | null; from: string; used: string | null }

async function owned(name: string): Promise<string> {
  await broker.here(['keys', 'create', '--name', name])
  const { keys } = JSON.parse((await broker.here(['keys', 'list', '--json'])).stdout)
  return keys.find((key: { name: string }) => key.name === name).owner
}

async function limits(args: readonly string[], env: Record<string, string> = {}) {
  const shown = await broker.here([...args, '--json'], env)
  expect(shown).toMatchObject({ exitCode: 0, stderr: '' })
  const { owner, limits: list } = JSON.parse(shown.stdout)
  const of = (name: string) => (list as Shown[]).find((limit) => limit.name === name)
  return { owner, of, list }
}

describe('avatar keys limits', () => {
  it('shows the defaults of the environment, and what is used of each limit', async () => {
    const owner = await owned('alice')
    const env = { LIMIT_BUDGET_PER_DAY: '12.5', POOL_PRICES: 'l40s=0.001,local=0' }
    const records = await openJobRecords(broker.bus)
    for (const state of ['queued', 'rendering', 'completed'] as const) {
      const job = aJob({ jobId: randomUUID(), owner, state, estimatedSeconds: 100 })
      await records.create(jobKey(owner, job.jobId), job)
    }
    await broker.postJob(new Date().toISOString().slice(0, 10), { owner })
    const shown = await limits(['keys', 'limits', 'alice'], env)
    expect(shown.owner).toBe(owner)
    expect(shown.of('unfinished-jobs')).toEqual({
      ...{ name: 'unfinished-jobs', limit: '2000', from: 'default', used: '2' },
    })
    expect(shown.of('renders')).toMatchObject({ limit: null, used: '1' })
    expect(shown.of('gpu-seconds-per-day')).toMatchObject({ limit: null, used: '210' })
    // Charged 0.0053; two estimates of 100 s at the price of the dearest pool.
    expect(shown.of('budget-per-day')).toMatchObject({ limit: '12.50', used: '0.2053' })
    expect(shown.of('submits-per-minute')).toMatchObject({ limit: '120', used: null })
    const read = await broker.here(['keys', 'limits', owner], env)
    expect(read.stdout).toMatch(/^budget-per-day +12\.50 +default +0\.2053$/m)
    expect(read.stdout).toMatch(/^renders +none +default +1$/m)
  })

  it('changes what it is given, within five seconds, and goes back to the default', async () => {
    const owner = await owned('bob')
    const watch = ownerLimits({
      records: await openOwnerLimits(broker.bus),
      ...{ clock: systemClock, log: createLog('test', 'silent') },
    })
    await watch.start()
    await until(() => watch.isReady?.())
    const changed = await limits([
      ...['keys', 'limits', 'bob', '--renders', '2', '--share', '10', '--budget-per-month', '99.9'],
      ...['--submits-per-minute', '5', '--submit-burst', '3', '--gpu-seconds-per-day', '12.5'],
    ])
    expect(changed.of('renders')).toMatchObject({ limit: '2', from: 'own' })
    expect(changed.of('budget-per-month')).toMatchObject({ limit: '99.90', from: 'own' })
    await until(() => watch.limitsOf(owner).renders === 2, { timeoutMs: 5_000 })
    expect(watch.limitsOf(owner)).toEqual({
      ...{ renders: 2, share: 10, budgetPerMonthMicros: 99_900_000 },
      ...{ submitsPerMinute: 5, submitBurst: 3, gpuSecondsPerDay: 12.5 },
    })
    const back = await limits(['keys', 'limits', owner, '--unset', 'renders', '--unset', 'share'])
    expect(back.of('renders')).toMatchObject({ limit: null, from: 'default' })
    expect(back.of('share')).toMatchObject({ limit: '1', from: 'default' })
    expect(back.of('submit-burst')).toMatchObject({ limit: '3', from: 'own' })
    await watch.stop()
  })

  it('keeps them when the key is rotated', async () => {
    await owned('carol')
    await limits(['keys', 'limits', 'carol', '--unfinished-jobs', '7'])
    await broker.here(['keys', 'rotate', 'carol'])
    const shown = await limits(['keys', 'limits', 'carol'])
    expect(shown.of('unfinished-jobs')).toMatchObject({ limit: '7', from: 'own' })
  })

  it.each([
    [['--share', '0'], '--share is a whole number, from 1 to 100; it was "0"'],
    [['--renders', 'two'], '--renders is a whole number, from 1 to 100000; it was "two"'],
    [['--renders', ''], '--renders is a whole number'],
    [['--unfinished-jobs', '1.5'], '--unfinished-jobs is a whole number'],
    [['--gpu-seconds-per-day', '-1'], '--gpu-seconds-per-day is a number, 0 or more'],
    [['--budget-per-day', '1,50'], '--budget-per-day: "1,50" is no amount'],
    [['--unset', 'colour'], 'There is no limit "colour"; there are submits-per-minute,'],
  ])('refuses %j, saying what is right', async (args, why) => {
    const refused = await broker.here(['keys', 'limits', 'nobody', ...args])
    expect(refused).toMatchObject({ exitCode: 2, stdout: '' })
    expect(refused.stderr).toContain(why)
  })

  it('does not know the limits of a key that does not exist', async () => {
    const refused = await broker.here(['keys', 'limits', 'nobody', '--share', '2'])
    expect(refused).toMatchObject({ exitCode: 1, stdout: '' })
    expect(refused.stderr).toContain('There is no key "nobody"')
  })
})

describe('avatar publishers limits', () => {
  it('shows and changes those of another service', async () => {
    const shown = await limits(['publishers', 'limits', 'acme', '--share', '3'])
    expect(shown.owner).toBe('acme')
    expect(shown.of('share')).toMatchObject({ limit: '3', from: 'own' })
    expect((await broker.here(['publishers', 'limits', 'Not A Name'])).exitCode).toBe(2)
  })
})
