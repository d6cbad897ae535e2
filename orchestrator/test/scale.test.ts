import { randomUUID } from 'node:crypto'
import {
  type Beat,
  buckets,
  dayOf,
  paceSchema,
  startPaceKeyOf,
  startPaceSchema,
  subjects,
} from '@avatar/contracts'
import { systemClock } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { scaleWorld } from './scale-world.ts'
import { createWorld, type World } from './world.ts'

let world: World
beforeAll(async () => {
  // Short enough to be waited for, and longer than a busy machine needs for a pass.
  const short = {
    wakeDeadlineMs: 8_000,
    ringAgainMs: 1_500,
    wakeSilentMs: 12_000,
    scaleQuietMs: 600,
  }
  const provider = { ringBackoffMs: 1_000, ringBackoffMaxMs: 2_000, providerTimeoutMs: 5_000 }
  world = await createWorld({ ...short, ...provider, silentAfterMs: 3_000, surveyAgainMs: 300 })
})
afterAll(() => world?.stop())

const ready = (wakeId: string): Partial<Beat> => ({ state: 'ready', wakeId })

describe('a job that waits', () => {
  it('has one worker rung for, which comes, works, and leaves', async () => {
    const scale = await scaleWorld(world)
    const orchestrator = await scale.orchestrator()
    const job = await scale.job()
    const [bell] = await scale.rings(1)
    const { wakeId = '' } = bell ?? {}
    await scale.wake({ wakeId, state: 'rung', ref: bell?.ref ?? '' })
    const worker = await scale.worker()
    expect(await worker.hello(wakeId)).toEqual({
      ...{ answer: 'work', wakeId, idleSeconds: 30, lifetimeSeconds: 21_600 },
    })
    await scale.wake({ wakeId, state: 'started' })
    const silence = await scale.beating(worker, () => ready(wakeId))
    await scale.wake({ wakeId, state: 'ready' })
    expect((await worker.takes(job)).jobId).toBe(job.jobId)
    const paces = await world.operator.records(buckets.pace, z.union([paceSchema, startPaceSchema]))
    await until(() => paces.find(startPaceKeyOf(scale.pool)), { what: 'a learned start' })
    await silence()
    const counts = { jobs: 1, busySeconds: 3, loadingSeconds: 2, idleSeconds: 1 }
    worker.sendsHeartbeat([], { state: 'gone', wakeId, counts })
    const ended = await scale.wake({ wakeId, state: 'ended' })
    expect(ended).toMatchObject({ counts, reason: 'its worker has left' })
    expect(scale.doorbells.rings).toHaveLength(1)
    const told = orchestrator.lines().filter((line) => line['wakeId'] === wakeId)
    expect(told.map((line) => line['msg'])).toEqual(['worker rung for', 'hello', 'worker ready'])
  })

  it('is withdrawn when nobody waits any more', async () => {
    const scale = await scaleWorld(world)
    await scale.orchestrator()
    const job = await scale.job()
    await scale.rings(1)
    const rung = await scale.wake({ state: 'rung' })
    await world.cancel(job)
    const lost = await scale.wake({ wakeId: rung.wakeId, state: 'lost' })
    expect(lost.reason).toBe('nobody needs it any more')
    await until(() => scale.doorbells.cancelled.includes(rung.ref ?? ''))
    await scale.reason('no_jobs')
  })
})

describe('the bill of the provider', () => {
  it('of the last day that is closed is posted once, whoever decides', async () => {
    const scale = await scaleWorld(world)
    scale.doorbells.told.dollars = [1.25, 0.5]
    const first = await scale.orchestrator()
    const subject = `ledger.bill.*.*.${scale.pool}`
    const posted = await until(() => world.operator.lastMessage('LEDGER', subject), {
      what: 'a posting',
    })
    const { day } = posted.body as { day: string }
    expect(posted.body).toEqual({ pool: scale.pool, day, micros: 1_750_000, currency: 'USD' })
    const closedMs = Date.now() - 86_400_000 - world.timings.billClosedAfterMs
    // Midnight may have come in between.
    expect([dayOf(closedMs), dayOf(closedMs - 60_000)]).toContain(day)
    expect(scale.doorbells.bills[0]).toContain(`startTime=${day}T00%3A00%3A00Z`)
    await first.stop()
    await scale.orchestrator()
    await scale.job()
    await scale.rings(1)
    await scale.passes()
    expect(scale.doorbells.bills).toHaveLength(1)
  })
})

describe('a crash', () => {
  it('after the intent: it is rung for under the same id', async () => {
    const scale = await scaleWorld(world)
    const intended = await scale.leave({ state: 'intended', intendedAtMs: Date.now() - 1_000 })
    await scale.job()
    await scale.orchestrator()
    await scale.wake({ wakeId: intended.wakeId, state: 'rung' })
    await scale.passes()
    expect(scale.doorbells.rings.map(({ wakeId }) => wakeId)).toEqual([intended.wakeId])
    expect(await scale.wakes()).toHaveLength(1)
  })

  it('between ring and record: it is rung for again, and the second worker is sent away', async () => {
    const scale = await scaleWorld(world)
    scale.doorbells.plan(['broken'])
    await scale.orchestrator()
    await scale.job()
    const bells = await scale.rings(2)
    const { wakeId } = await scale.wake({ state: 'rung' })
    expect(bells.map((bell) => bell.wakeId)).toEqual([wakeId, wakeId])
    const [first, second] = [await scale.worker(), await scale.worker()]
    expect((await first.hello(wakeId)).answer).toBe('work')
    expect(await second.hello(wakeId)).toEqual({
      answer: 'leave',
      reason: 'this wake-up is started already',
    })
    // Its answer may have been lost: it is given again.
    expect((await first.hello(wakeId)).answer).toBe('work')
  })

  it('of the provider’s memory: nobody comes in time, and another one is rung for', async () => {
    const scale = await scaleWorld(world)
    await scale.orchestrator()
    await scale.job()
    await scale.rings(1)
    const first = await scale.wake({ state: 'rung' })
    await scale.rings(2)
    expect(await scale.wake({ wakeId: first.wakeId, state: 'lost' })).toMatchObject({
      reason: 'nobody came in time',
    })
    await until(() => scale.doorbells.cancelled.includes(first.ref ?? ''))
    // Who comes late all the same finds its wake-up lost.
    const late = await scale.worker()
    expect(await late.hello(first.wakeId)).toMatchObject({ answer: 'leave' })
  })

  it('of a worker after hello: its silence ends the wake-up, and another one is rung for', async () => {
    const scale = await scaleWorld(world)
    await scale.orchestrator()
    await scale.job()
    const [bell] = await scale.rings(1)
    const worker = await scale.worker()
    expect((await worker.hello(bell?.wakeId)).answer).toBe('work')
    const bells = await scale.rings(2)
    expect(bells[1]?.wakeId).not.toBe(bell?.wakeId)
    const ended = await scale.wake({ wakeId: bell?.wakeId ?? '', state: 'ended' })
    expect(ended.reason).toBe('its worker is not heard any more')
  })

  it('of the orchestrator at hello: the worker asks on, and the next one answers', async () => {
    const scale = await scaleWorld(world)
    const first = await scale.orchestrator()
    await scale.job()
    const [bell] = await scale.rings(1)
    await scale.wake({ state: 'rung' })
    await first.stop()
    const worker = await scale.worker()
    const asking = worker.hello(bell?.wakeId)
    await scale.orchestrator()
    expect(await asking).toMatchObject({ answer: 'work', wakeId: bell?.wakeId })
  })

  it('of the orchestrator while workers live: nobody is rung for', async () => {
    const scale = await scaleWorld(world)
    const crew = await Promise.all(
      ['a', 'b', 'c', 'd', 'e'].map(async (name) => {
        const worker = await scale.worker(`${scale.pool}-${name}`)
        const wake = await scale.leave({
          ...{
            state: 'ready',
            intendedAtMs: Date.now() - 60_000,
            startedAtMs: Date.now() - 50_000,
          },
          ...{ workerId: `${scale.pool}-${name}`, incarnation: 'i1' },
        })
        await scale.beating(worker, () => ready(wake.wakeId))
        return wake.wakeId
      }),
    )
    await scale.job({ estimatedSeconds: 5_000 })
    await scale.orchestrator()
    await scale.reason('enough')
    await scale.passes()
    expect(scale.doorbells.rings).toEqual([])
    const states = (await scale.wakes()).map(({ wakeId, state }) => `${wakeId} ${state}`)
    expect(states.toSorted()).toEqual(crew.map((wakeId) => `${wakeId} ready`).toSorted())
  })
})

describe('nobody is rung for', () => {
  it('while the ledger is not read: money that is not known is none', async () => {
    const scale = await scaleWorld(world)
    let money: { spentToday: number; budgetPerDay: number | undefined } | undefined
    await scale.orchestrator({}, { money: () => money })
    await scale.job()
    await scale.reason('money_unknown')
    await scale.passes()
    expect(await scale.wakes()).toEqual([])
    money = { spentToday: 0, budgetPerDay: 10 }
    await scale.rings(1)
  })

  it('while the provider fails, and then under the id that was written down', async () => {
    const scale = await scaleWorld(world)
    scale.doorbells.plan([], 500)
    const orchestrator = await scale.orchestrator()
    await scale.job()
    await scale.reason('provider_away')
    await scale.passes(10)
    const [wake, ...others] = await scale.wakes()
    expect([wake?.state, others]).toEqual(['intended', []])
    const refused = () => orchestrator.lines().filter(({ msg }) => msg === 'wake-up refused')
    await until(() => refused().length >= 3, { what: 'three refusals' })
    scale.doorbells.plan([])
    const [bell] = await scale.rings(1)
    expect(bell?.wakeId).toBe(wake?.wakeId)
    const told = await orchestrator.metrics.scrape()
    expect(told).toMatch(/wakeups_total\{[^}]*outcome="away"[^}]*\} [3-9]/)
  })

  it('twice, with two orchestrators: one of them decides, and the other takes over', async () => {
    const scale = await scaleWorld(world)
    const [first, second] = [await scale.orchestrator(), await scale.orchestrator()]
    await scale.job({ estimatedSeconds: 30 })
    await scale.rings(1)
    await scale.passes(10)
    expect(scale.doorbells.rings).toHaveLength(1)
    const { wakeId } = await scale.wake({ state: 'rung' })
    const rang = (one: typeof first) => one.lines().some(({ msg }) => msg === 'worker rung for')
    await (rang(first) ? first : second).stop()
    // The other one lets the worker in, whom the first had rung for.
    expect((await (await scale.worker()).hello(wakeId)).answer).toBe('work')
  })

  it('again when the clock of the machine is set', async () => {
    const scale = await scaleWorld(world)
    let aheadMs = 0
    const machine = { ...systemClock, nowMs: () => Date.now() + aheadMs }
    await scale.orchestrator({}, {}, machine)
    await scale.job()
    await scale.rings(1)
    const { wakeId } = await scale.wake({ state: 'rung' })
    aheadMs = 3_600_000
    await scale.passes()
    expect((await scale.wakes()).map((wake) => [wake.wakeId, wake.state])).toEqual([
      [wakeId, 'rung'],
    ])
  })
})

describe('after a quiet week', () => {
  it('the endpoint’s maximum of 0 is raised before anybody is rung for', async () => {
    const scale = await scaleWorld(world)
    world.letOnly('nobody')
    const orchestrator = await scale.orchestrator()
    await scale.reason('no_jobs')
    await scale.passes()
    scale.doorbells.told.max = 0
    const startedMs = performance.now()
    await scale.job()
    await scale.rings(1)
    expect(performance.now() - startedMs).toBeLessThan(10_000)
    expect(scale.doorbells.patches).toEqual([{ workers: { max: 5 } }])
    const told = orchestrator.lines().find(({ msg }) => msg === 'the provider was put right')
    expect(told?.['reason']).toBe("raised the endpoint's maximum from 0 to 5")
  })
})

describe('the budget of the day', () => {
  it('that is reached mid-queue stops the ringing and lets workers finish; the next day goes on', async () => {
    const scale = await scaleWorld(world)
    const money = { spentToday: 0, budgetPerDay: 10 as number | undefined }
    await scale.orchestrator({ SCALE_TARGET_WAIT_SECONDS: '0' }, { money: () => money })
    const job = await scale.job({ estimatedSeconds: 500 })
    const [bell] = await scale.rings(1)
    const worker = await scale.worker()
    const workerId = randomUUID()
    const orders: unknown[] = []
    const named = await world.createWorker(workerId, 'i1', scale.pool)
    named.bus.subscribe(subjects.drain(workerId), (message) => void orders.push(message.json()))
    await named.bus.ping(1_000)
    expect((await named.hello(bell?.wakeId)).answer).toBe('work')
    await named.takes(job)
    let state: Beat['state'] = 'rendering'
    await scale.beating(named, () => ({ state, wakeId: bell?.wakeId ?? '' }), [{ job, epoch: 1 }])
    await scale.job({ owner: job.owner, estimatedSeconds: 500 })
    await scale.rings(2)
    const second = await scale.wake({ state: 'rung' })

    money.spentToday = 10
    const told = await scale.reason('budget_reached')
    expect(new Date(told.untilMs ?? 0).toISOString()).toMatch(/T00:00:00\.000Z$/)
    await until(() => orders.length > 0, { what: 'the order to leave' })
    state = 'draining'
    await scale.wake({ wakeId: second.wakeId, state: 'lost' })
    expect((await worker.hello(second.wakeId)).answer).toBe('leave')
    await scale.passes()
    expect(scale.doorbells.rings).toHaveLength(2)
    // What is under way goes on.
    expect((await world.record(job))?.state).toBe('claimed')

    money.spentToday = 0
    await scale.rings(3)
  })
})

describe('the password of a pool', () => {
  it('opens no media without a wake-up: 100 tries bring no link', async () => {
    const scale = await scaleWorld(world, 'runpod')
    await scale.orchestrator({}, { money: () => undefined })
    const { job } = await world.claimed()
    const waiting = await scale.job()
    const thief = await world.createWorker('w1', 'i1', 'runpod', 'pool-runpod')
    const got: unknown[] = []
    for (let tries = 0; tries < 100; tries++) {
      world.letOnly(waiting.owner)
      got.push(
        await Promise.race([thief.asks({ waitMs: 0 })]),
        await thief.freshUrls(job, 1),
        await thief.store(job, 1),
      )
    }
    expect(JSON.stringify(got)).not.toContain('http')
    const answers = new Set(got.map((answer) => JSON.stringify(answer)))
    expect([...answers]).toEqual(['{"answer":"none"}', '{"answer":"lost"}'])
    expect((await world.record(waiting))?.state).toBe('queued')
    await scale.reason('money_unknown')
    expect(await thief.hello()).toMatchObject({ answer: 'leave' })
    expect(await thief.hello('f'.repeat(24))).toMatchObject({ answer: 'leave' })
  })
})

describe('KEDA', () => {
  it('reads how many are wanted, and its pods are given wake-ups as they come', async () => {
    const scale = await scaleWorld(world)
    const orchestrator = await scale.orchestrator({ SCALE_PROVIDER: 'kubernetes' })
    await scale.job()
    const gauge = new RegExp(`workers_wanted\\{[^}]*pool="${scale.pool}"[^}]*\\} 1\\b`)
    await until(async () => gauge.test(await orchestrator.metrics.scrape()), { what: 'the gauge' })
    const [first, second] = [await scale.worker(), await scale.worker()]
    const answer = await first.hello()
    const wakeId = answer.answer === 'work' ? answer.wakeId : undefined
    expect(await scale.wake({ state: 'started' })).toMatchObject({ wakeId, provider: 'kubernetes' })
    expect(await first.hello()).toEqual(answer)
    expect((await second.hello()).answer).toBe('leave')
    expect(scale.doorbells.rings).toEqual([])
  })
})

describe('the broker', () => {
  it('that restarts costs no worker: those that live go on, and nobody is rung for', async () => {
    const scale = await scaleWorld(world)
    await scale.orchestrator()
    await scale.job({ estimatedSeconds: 30 })
    const [bell] = await scale.rings(1)
    const worker = await scale.worker()
    await worker.hello(bell?.wakeId)
    await scale.beating(worker, () => ready(bell?.wakeId ?? ''))
    await scale.wake({ state: 'ready' })
    await world.nats.kill()
    await world.nats.start()
    await scale.passes()
    expect(scale.doorbells.rings).toHaveLength(1)
    expect((await scale.wakes()).map(({ state }) => state)).toEqual(['ready'])
  })
})
