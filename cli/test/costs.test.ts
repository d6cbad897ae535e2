import { streams } from '@avatar/contracts'
import { aSpent } from '@avatar/contracts/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type BrokerOnly, startBroker } from './broker-only.ts'

let broker: BrokerOnly
beforeAll(async () => {
  broker = await startBroker()
  await broker.postWorker('2026-10-31', { loadingSeconds: 60, idleSeconds: 40 })
  await broker.postWorker('2026-11-01', {
    ...{ loadingSeconds: 60, idleSeconds: 90, renderingSeconds: 10 },
  })
  await broker.postWorker('2026-11-02', {
    ...{ loadingSeconds: 120, idleSeconds: 100, renderingSeconds: 40 },
  })
  await broker.postJob('2026-11-01', { owner: 'o_abcDEF123456' })
  const lost = aSpent({ gpuSeconds: 4, micros: 2_120, end: 'lost', isCharged: false })
  const done = aSpent({ epoch: 2, gpuSeconds: 20, micros: 10_600 })
  await broker.postJob('2026-11-02', { owner: 'acme', attempts: [lost, done] })
  await broker.postJob('2026-12-01', { owner: 'acme' })
})
afterAll(() => broker.stop())

const costs = (...args: string[]) => broker.here(['costs', ...args])

describe('avatar costs', () => {
  it('shows what a month cost, day by day', async () => {
    const { stdout, stderr, exitCode } = await costs('--month', '2026-11')
    expect([stderr, exitCode]).toEqual(['', 0])
    expect(stdout).toBe(
      `2026-11, in USD

DAY         CHARGED  OURS     COLD START  IDLE    WASTE    TOTAL   GPU SECONDS
2026-11-01  0.0053   0.00     0.00        0.0265  0.00     0.0318  60.0
2026-11-02  0.0106   0.00212  0.0318      0.0053  0.00318  0.053   100.0
total       0.0159   0.00212  0.0318      0.0318  0.00318  0.0848  160.0
`,
    )
  })

  it('splits them by owner, pool and end, and the sum stays the same', async () => {
    for (const by of ['owner', 'pool', 'end', 'day']) {
      const { stdout } = await costs('--month', '2026-11', '--by', by, '--json')
      const { rows, total, currency } = JSON.parse(stdout)
      expect(currency).toBe('USD')
      expect(total.total).toEqual({ gpu_seconds: 160, amount: '0.0848' })
      const sum = rows.reduce(
        (all: number, row: { total: { gpu_seconds: number } }) => all + row.total.gpu_seconds,
        0,
      )
      expect(sum).toBeCloseTo(160)
    }
    const byOwner = await costs('--month', '2026-11', '--by', 'owner')
    expect(byOwner.stdout).toContain('(workers)')
    expect(byOwner.stdout).toContain('acme')
  })

  it('names the currency of the environment, and is empty for a month without postings', async () => {
    const env = { CURRENCY: 'EUR' }
    const { stdout } = await broker.here(['costs', '--month', '2020-02', '--json'], env)
    expect(JSON.parse(stdout)).toMatchObject({
      ...{ month: '2020-02', currency: 'EUR', rows: [] },
      total: { total: { gpu_seconds: 0, amount: '0.00' } },
    })
  })

  it('shows this month by default', async () => {
    const { stdout } = await costs('--json')
    expect(JSON.parse(stdout).month).toBe(new Date().toISOString().slice(0, 7))
  })

  it.each([
    [['--month', '2026-13'], '--month is a month'],
    [['--by', 'colour'], 'Allowed choices are day, owner, pool, end'],
    [['--bill', '1'], 'A bill needs all three'],
    [['--bill', 'much', '--pool', 'l40s', '--day', '2026-11-02'], '"much" is no amount'],
    [['--bill', '1', '--pool', 'L40S', '--day', '2026-11-02'], 'no name of a pool'],
    [['--bill', '1', '--pool', 'l40s', '--day', 'today'], '--day is a day'],
  ])('refuses %j, saying why', async (args, why) => {
    const refused = await costs(...args)
    expect(refused).toMatchObject({ exitCode: 2, stdout: '' })
    expect(refused.stderr).toContain(why)
  })
})

describe('avatar costs --bill', () => {
  it('is content with a bill that is near what the workers cost', async () => {
    const { stdout, exitCode } = await costs(
      ...['--bill', '0.055', '--pool', 'l40s', '--day', '2026-11-02'],
    )
    expect(exitCode).toBe(0)
    expect(stdout).toContain('the bill is 0.055 USD, its workers cost 0.053 USD')
    expect(stdout).toContain('3.6 % apart')
  })

  it('fails when they are more than 5 % apart, and posts the bill all the same', async () => {
    const { stdout, exitCode } = await costs(
      ...['--bill', '0.10', '--pool', 'l40s', '--day', '2026-11-02', '--json'],
    )
    expect(exitCode).toBe(1)
    expect(JSON.parse(stdout)).toMatchObject({
      ...{ bill: '0.10', is_close: false, difference_ratio: 0.47 },
      workers: { gpu_seconds: 100, amount: '0.053' },
    })
    const stored = await broker.bus.lastMessage(streams.LEDGER.name, 'ledger.bill.2026-11.02.l40s')
    expect(stored?.body).toEqual({
      ...{ pool: 'l40s', day: '2026-11-02', micros: 100_000, currency: 'USD' },
    })
  })
})

describe('avatar costs forget', () => {
  it('removes the postings of one owner and of nobody else', async () => {
    await broker.postJob('2026-08-01', { owner: 'o_forgetMe0000' })
    await broker.postJob('2026-09-01', { owner: 'o_forgetMe0000' })
    const before = (await broker.bus.streamState(streams.LEDGER.name)).messages
    const forgotten = await costs('forget', 'o_forgetMe0000', '--json')
    expect(JSON.parse(forgotten.stdout)).toEqual({ owner: 'o_forgetMe0000', forgotten: 2 })
    expect((await broker.bus.streamState(streams.LEDGER.name)).messages).toBe(before - 2)
    expect((await costs('forget', 'o_forgetMe0000')).stdout).toContain('Forgot 0 postings')
  })

  it('takes no name of a key for an owner', async () => {
    const refused = await costs('forget', 'Alice')
    expect(refused).toMatchObject({ exitCode: 2, stdout: '' })
    expect(refused.stderr).toContain('avatar keys list')
  })
})
