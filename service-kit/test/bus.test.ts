import { randomUUID } from 'node:crypto'
import { subjects } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Bus } from '../src/index.ts'
import { until } from '../testing/index.ts'
import { type BrokerWorld, createBrokerWorld } from './broker-world.ts'

let world: BrokerWorld
let bus: Bus

beforeAll(async () => {
  world = await createBrokerWorld()
  bus = world.bus
})

afterAll(() => world.stop())

const subject = () => `evt.job.queued.${randomUUID()}`
const bodiesOn = async (on: string) =>
  (await bus.readStream('EVENTS', on, 1, 100)).map(({ body }) => body)

describe('a publish', () => {
  it('is stored once per message id, with its trace header', async () => {
    const on = subject()
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
    const options = { messageId: on, traceparent }
    expect(await bus.publish(on, { n: 1 }, options)).toBe('stored')
    expect(await bus.publish(on, { n: 2 }, options)).toBe('stored')
    expect(await bodiesOn(on)).toEqual([{ n: 1 }])
    const stored = await world.raw.manager.direct.getMessage('EVENTS', { last_by_subj: on })
    expect(stored?.header?.get('traceparent')).toBe(traceparent)
  })

  it('reports that the subject already has its one message', async () => {
    const posting = subjects.jobPosting('2026-11-29', 'acme', randomUUID())
    expect(await bus.publish(posting, { n: 1 }, { lastSequence: 0 })).toBe('stored')
    expect(await bus.publish(posting, { n: 2 }, { lastSequence: 0 })).toBe('exists')
    expect((await bus.lastMessage('LEDGER', posting))?.body).toEqual({ n: 1 })
  })

  it('outlasts a broker outage, or gives up after its timeout', async () => {
    const on = subject()
    await world.nats.kill()
    const began = performance.now()
    const given = bus.publish(on, { n: 1 }, { timeoutMs: 1_000 })
    await expect(given).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' })
    expect(performance.now() - began).toBeLessThan(4_000)
    expect(await bus.ping(200)).toBe(false)
    await expect(bus.readStream('EVENTS', on, 1, 1)).rejects.toMatchObject({
      code: 'BROKER_UNAVAILABLE',
    })
    await expect(bus.lastMessage('EVENTS', on)).rejects.toMatchObject({
      code: 'BROKER_UNAVAILABLE',
    })
    const patient = bus.publish(on, { n: 2 }, { messageId: on })
    await world.nats.start()
    expect(await patient).toBe('stored')
    expect(await bus.ping(1_000)).toBe(true)
    expect(await bodiesOn(on)).toEqual([{ n: 2 }])
  })
})

describe('a stream', () => {
  it('is read in order from a sequence on, and is empty where nothing matches', async () => {
    const on = subject()
    for (let n = 0; n < 5; n++) await bus.publish(on, { n })
    const all = await bus.readStream('EVENTS', on, 1, 3)
    expect(all.map(({ body }) => body)).toEqual([{ n: 0 }, { n: 1 }, { n: 2 }])
    const rest = await bus.readStream('EVENTS', on, (all.at(-1)?.sequence ?? 0) + 1, 3)
    expect(rest.map(({ body }) => body)).toEqual([{ n: 3 }, { n: 4 }])
    expect(await bus.readStream('EVENTS', subject(), 1, 3)).toEqual([])
  })

  it('delivers a scheduled message on time, and only the last one per subject', async () => {
    const jobId = randomUUID()
    const [from, to] = [subjects.scheduledDeletion(jobId), subjects.dueDeletion(jobId)]
    await bus.schedule(from, to, Date.now() + 60_000, { n: 1 })
    await bus.schedule(from, to, Date.now() + 300, { n: 2 })
    expect(await bus.lastMessage('SCHED', to)).toBeUndefined()
    await until(() => bus.lastMessage('SCHED', to))
    expect((await bus.readStream('SCHED', to, 1, 10)).map(({ body }) => body)).toEqual([{ n: 2 }])
    expect(await bus.lastMessage('SCHED', from)).toBeUndefined()
  })
})

describe('a request', () => {
  it('reaches one member of the queue group, with its body and trace', async () => {
    const heard: unknown[] = []
    const answerer = (name: string) =>
      bus.subscribe(
        'ctl.request.test',
        (message) => {
          heard.push({ asked: message.json(), trace: message.traceparent })
          message.respond({ name })
        },
        { queue: 'group' },
      )
    const both = [answerer('a'), answerer('b')]
    await bus.ping(1_000)
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
    const answer = await bus.request(
      'ctl.request.test',
      { n: 1 },
      { timeoutMs: 1_000, traceparent },
    )
    expect(['a', 'b']).toContain((answer as { name: string }).name)
    expect(heard).toEqual([{ asked: { n: 1 }, trace: traceparent }])
    for (const one of both) one.stop()
    await bus.ping(1_000)
    expect(await bus.request('ctl.request.test', {}, { timeoutMs: 300 })).toBeUndefined()
  })

  it('that the handler rejects breaks neither the subscription nor the next message', async () => {
    const heard: unknown[] = []
    const listener = bus.subscribe('beat.test', (message) => {
      heard.push(message.json())
    })
    await bus.ping(1_000)
    world.raw.connection.publish('beat.test', 'not json')
    await world.raw.connection.flush()
    bus.publishCore('beat.test', { n: 2 })
    await until(() => heard.length === 1)
    expect(heard).toEqual([{ n: 2 }])
    listener.stop()
  })
})

describe('a connection', () => {
  it('may be stopped twice, and publishes nothing afterwards', async () => {
    const short = await world.connect()
    expect(await short.ping(1_000)).toBe(true)
    await short.stop()
    await short.stop()
    expect(await short.ping(1_000)).toBe(false)
    await short.closed()
    await expect(short.publish(subject(), {})).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' })
  })
})
