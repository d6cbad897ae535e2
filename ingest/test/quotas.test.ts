import { randomUUID } from 'node:crypto'
import { dayOf, type OwnerLimits, subjects } from '@avatar/contracts'
import { aJobPosting } from '@avatar/contracts/testing'
import { type LimitRecords, openOwnerLimits } from '@avatar/job-kit'
import type { Bus } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { beforeAll, describe, expect, it } from 'vitest'
import { portrait, useRestWorld, voice } from './rest-world.ts'

const priced = { POOL_PRICES: 'l40s=0.001', QUEUE_MAX_JOBS: '40', SERVICE_BUDGET_PER_DAY: '1000' }
const world = useRestWorld({ env: priced, divisor: 10 })
let limits: LimitRecords
let acme: Bus

beforeAll(async () => {
  limits = await openOwnerLimits(world.operator)
  acme = await world.connectAs('acme')
  await world.putObject('intake/acme/face.jpg', portrait)
  await world.putObject('intake/acme/voice.wav', voice)
})

/** A new owner with these limits, which are in force when this returns. */
async function owner(own: OwnerLimits) {
  const { headers, owner: name } = await world.createKey()
  await limits.create(name, own)
  const limit = Object.keys(own).length
  await until(async () => {
    const { body } = await world.call('/usage', { headers })
    return limit === 0 || JSON.stringify(body).includes(String(markOf(own)))
  })
  const generate = (more: Record<string, string> = {}) =>
    world.generate({}, { ...headers, ...more })
  return { name, headers, generate }
}

/** A number by which an answer of `/usage` shows that the limits are in force. */
function markOf({ unfinishedJobs, gpuSecondsPerDay, budgetPerDayMicros = 0 }: OwnerLimits) {
  return unfinishedJobs ?? gpuSecondsPerDay ?? (budgetPerDayMicros / 1e6).toFixed(2)
}

/** Books a job that was charged today, and waits until it counts. */
async function charge(name: string, headers: Record<string, string>, gpuSeconds: number) {
  const posting = aJobPosting({
    ...{ owner: name, jobId: randomUUID() },
    charged: { gpuSeconds, micros: gpuSeconds * 1_000 },
  })
  const day = dayOf(Date.now())
  await world.operator.publish(subjects.jobPosting(day, name, posting.jobId), posting)
  await until(async () => {
    const { body } = await world.call('/usage', { headers })
    return (
      (body['data'] as unknown as { gpu_seconds_per_day: { used: number } }).gpu_seconds_per_day
        .used > 0
    )
  })
}

const errorOf = (answer: { body: Record<string, never> }) =>
  answer.body['error'] as unknown as { code: string; details: Record<string, unknown> }

describe('a submission over a quota', () => {
  it('is refused while the owner has as many unfinished jobs as it may, also with many at once', async () => {
    const { generate } = await owner({ unfinishedJobs: 3 })
    const answers = await Promise.all(Array.from({ length: 8 }, () => generate()))
    const refused = answers.filter(({ status }) => status !== 201)
    expect(answers.length - refused.length).toBe(3)
    for (const answer of refused) {
      expect([answer.status, errorOf(answer).code]).toEqual([429, 'TOO_MANY_JOBS'])
      expect(errorOf(answer).details).toMatchObject({ limit: 3 })
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    }
  })

  it('is not refused when it is the repetition of one that was accepted', async () => {
    const { generate } = await owner({ unfinishedJobs: 1 })
    const first = await generate({ 'idempotency-key': 'again' })
    expect(first.status).toBe(201)
    expect((await generate()).status).toBe(429)
    const again = await generate({ 'idempotency-key': 'again' })
    expect([again.status, again.body['data']]).toEqual([
      200,
      expect.objectContaining({
        job_id: (first.body['data'] as unknown as { job_id: string }).job_id,
      }),
    ])
  })

  it('is refused with 429 until midnight when the GPU seconds of the day are used up', async () => {
    const { name, headers, generate } = await owner({ gpuSecondsPerDay: 61 })
    await charge(name, headers, 60)
    const answer = await generate()
    expect([answer.status, errorOf(answer).code]).toEqual([429, 'GPU_SECONDS_EXHAUSTED'])
    expect(errorOf(answer).details).toMatchObject({ limit: 61, spent: 60, committed: 0 })
    const midnight = Date.parse(String(errorOf(answer).details['resets_at']))
    const seconds = (midnight - Date.now()) / 1000
    expect(Math.abs(Number(answer.headers.get('retry-after')) - seconds)).toBeLessThan(30)
  })

  it('is refused with 402 when the budget is used up, and leaves nothing behind', async () => {
    const { name, headers, generate } = await owner({ budgetPerDayMicros: 60_000 })
    await charge(name, headers, 60)
    const before = await world.traces()
    const answer = await generate()
    expect([answer.status, errorOf(answer).code]).toEqual([402, 'BUDGET_EXHAUSTED'])
    expect(errorOf(answer).details).toEqual({
      ...{ period: 'day', limit: '0.06', spent: '0.06', committed: '0.00' },
      resets_at: expect.stringMatching(/T00:00:00\.000Z$/),
    })
    expect(await world.traces()).toEqual(before)
  })

  it('is accepted as soon as the limit is lifted', async () => {
    const { name, generate } = await owner({ unfinishedJobs: 0 })
    expect((await generate()).status).toBe(429)
    const found = await limits.find(name)
    await limits.update(name, {}, found?.revision ?? 0)
    await until(async () => (await generate()).status === 201, { timeoutMs: 5_000 })
  })
})

describe('an event over a quota of its publisher', () => {
  const submit = () =>
    acme.publish('intake.acme.job.submitted', {
      image_key: 'intake/acme/face.jpg',
      audio_key: 'intake/acme/voice.wav',
      reference: 'mine',
    })
  const jobsOf = () => world.board.listOf('acme', undefined, 100).length

  it('waits while its publisher has too many unfinished jobs', async () => {
    const revision = await limits.create('acme', { unfinishedJobs: 1 })
    await submit()
    await until(() => jobsOf() === 1)
    await submit()
    await until(
      async () =>
        (await world.raw.manager.consumers.info('INTAKE', 'ingest')).num_ack_pending === 1,
    )
    await limits.update('acme', { unfinishedJobs: 2 }, Number(revision))
    await until(() => jobsOf() === 2)
    expect((await world.operator.streamState('DLQ')).messages).toBe(0)
  })

  it('is told that the budget is spent, and is no dead letter', async () => {
    const found = await limits.find('acme')
    await limits.update('acme', { budgetPerDayMicros: 1 }, found?.revision ?? 0)
    const told: unknown[] = []
    const listening = acme.subscribe('notify.acme.job.rejected', (message) => {
      told.push(message.json())
    })
    await until(async () => {
      await submit()
      await until(() => told.length > 0, { timeoutMs: 2_000 }).catch(() => undefined)
      return told.length > 0
    })
    listening.stop()
    expect(told[0]).toMatchObject({
      status: 'rejected',
      reference: 'mine',
      error: { code: 'BUDGET_EXHAUSTED', details: { period: 'day', limit: '0.000001' } },
    })
    expect((await world.operator.streamState('DLQ')).messages).toBe(0)
  })
})

it('a full service takes no further job, whoever sends it', async () => {
  const { generate } = await owner({})
  while (world.board.openOfAll().jobs < 40) await world.putJob({ owner: `o_${'0'.repeat(12)}` })
  await until(() => world.board.openOfAll().jobs >= 40)
  const answer = await generate()
  expect([answer.status, errorOf(answer).code]).toEqual([503, 'QUEUE_FULL'])
  expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(2)
})
