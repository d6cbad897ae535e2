import { randomUUID } from 'node:crypto'
import { consumers, type DeadLetter, deadLetterSchema } from '@avatar/contracts'
import { jetstream } from '@nats-io/jetstream'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { AppError, type ConsumerLoopOptions, consumerLoop, systemClock } from '../src/index.ts'
import { itKeepsTheRunnableContract, until } from '../testing/index.ts'
import { type BrokerWorld, createBrokerWorld, log } from './broker-world.ts'

/** Back-offs of milliseconds; an acknowledgement is waited for 0.6 s. */
const divisor = 50
const subject = 'intake.acme.job.submitted'

let world: BrokerWorld
const counted: string[] = []
const countDeadLetter = (consumer: string, code: string) => void counted.push(`${consumer} ${code}`)
const loops: { stop(): Promise<void> }[] = []

beforeAll(async () => {
  world = await createBrokerWorld({ divisor })
})

afterEach(async () => {
  for (const loop of loops.splice(0)) await loop.stop()
  await world.raw.manager.streams.purge('INTAKE', { filter: subject })
})

afterAll(() => world.stop())

async function read(
  handle: ConsumerLoopOptions<z.ZodUnknown>['handle'],
  options: Partial<ConsumerLoopOptions<z.ZodUnknown>> = {},
) {
  const { bus, timings } = world
  const spec = consumers(timings).ingest
  const loop = consumerLoop({
    ...{ bus, spec, timings, log, handle, concurrency: 4, clock: systemClock },
    ...{ schema: z.unknown(), metrics: { countDeadLetter, beginDeadLetters: () => undefined } },
    ...options,
  })
  loops.push(loop)
  await loop.start()
  return loop
}

const say = (body: unknown) => world.bus.publish(subject, body)
const left = async () => (await world.bus.streamState('INTAKE')).messages

async function lettersOf(mark: string): Promise<DeadLetter[]> {
  const stored = await world.bus.readStream('DLQ', 'dlq.intake.ingest', 1, 1_000)
  return stored
    .map(({ body }) => deadLetterSchema.parse(body))
    .filter(({ payload }) => payload.includes(mark))
}

describe('a consumer loop', () => {
  itKeepsTheRunnableContract(() => {
    const { bus, timings } = world
    const spec = consumers(timings).ingest
    const handle = async () => undefined
    const runnable = consumerLoop({
      ...{ bus, spec, timings, log, handle, concurrency: 4, clock: systemClock },
      ...{ schema: z.unknown(), metrics: { countDeadLetter, beginDeadLetters: () => undefined } },
    })
    const pulls = async () =>
      (await world.raw.manager.consumers.info(spec.stream, spec.name)).num_waiting
    return { runnable, atWork: async () => Math.min(1, await pulls()) }
  })
})

describe('a message', () => {
  it('is handled once, acknowledged, and carries its trace on', async () => {
    const traceId = 'c'.repeat(32)
    const traceparent = `00-${traceId}-${'d'.repeat(16)}-01`
    const handled: unknown[] = []
    await read(async (body, delivery) => {
      handled.push(body)
      expect(delivery).toMatchObject({ subject, deliveryCount: 1 })
      expect(delivery.traceparent).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-01$`))
    })
    await world.bus.publish(subject, { n: 1 }, { traceparent })
    await until(async () => handled.length === 1 && (await left()) === 0)
    expect(handled).toEqual([{ n: 1 }])
  })

  it('is dead-lettered at once when it is rejected, with its reason and its payload', async () => {
    const mark = randomUUID()
    let tries = 0
    const rejected: unknown[] = []
    counted.length = 0
    await read(
      async () => {
        tries++
        throw new AppError('FOREIGN_OBJECT', { details: { key: 'intake/k' } })
      },
      { onReject: async ({ code }, body) => void rejected.push({ code, body }) },
    )
    await say({ mark })
    await until(async () => (await left()) === 0)
    expect(tries).toBe(1)
    expect(rejected).toEqual([{ code: 'FOREIGN_OBJECT', body: { mark } }])
    expect(counted).toEqual(['ingest FOREIGN_OBJECT'])
    expect(await lettersOf(mark)).toMatchObject([
      {
        ...{ stream: 'INTAKE', consumer: 'ingest', subject, code: 'FOREIGN_OBJECT' },
        ...{ details: { key: 'intake/k' }, payload: JSON.stringify({ mark }) },
        reason: 'The event names an object outside the intake folder of its publisher.',
      },
    ])
  })

  it('is dead-lettered without the secrets that its failure tells', async () => {
    const mark = randomUUID()
    await read(async () => {
      const message = 'nats://user:hunter2@host refused it'
      throw new AppError('FOREIGN_OBJECT', { message, details: { said: ['Bearer abc'] } })
    })
    await say({ mark })
    await until(async () => (await left()) === 0)
    expect(await lettersOf(mark)).toMatchObject([
      {
        reason: 'nats://user:[redacted]@host refused it',
        details: { said: ['Bearer [redacted]'] },
      },
    ])
  })

  it('never reaches the handler when it is not JSON', async () => {
    const mark = randomUUID()
    let tries = 0
    await read(async () => void tries++)
    await jetstream(world.raw.connection).publish(subject, `{"${mark}`)
    await until(async () => (await lettersOf(mark)).length === 1 && (await left()) === 0)
    expect(tries).toBe(0)
  })

  it('is dead-lettered at its fifth failure when the fault is ours', async () => {
    const mark = randomUUID()
    let tries = 0
    await read(async () => {
      tries++
      throw new TypeError('a bug')
    })
    await say({ mark })
    await until(async () => (await left()) === 0)
    expect(tries).toBe(5)
    expect(await lettersOf(mark)).toMatchObject([{ code: 'UNEXPECTED' }])
  })

  it('is redelivered when it was put back, however often, and that is no failure', async () => {
    const mark = randomUUID()
    const deliveries: number[] = []
    await read(async (_body, delivery) => {
      deliveries.push(delivery.deliveryCount)
      if (deliveries.length < 7) delivery.putBack(1)
    })
    await say({ mark })
    await until(async () => (await left()) === 0)
    expect(deliveries).toEqual([1, 2, 3, 4, 5, 6, 7])
    expect(await lettersOf(mark)).toEqual([])
  })

  it('that has to wait is redelivered when its error says, however often, and that is no failure', async () => {
    const mark = randomUUID()
    let tries = 0
    const failures: unknown[] = []
    await read(
      async () => {
        if (++tries <= 7) throw new AppError('TOO_MANY_REQUESTS', { retryAfterMs: 0.5 })
        if (tries <= 11) throw new TypeError('a bug')
      },
      { onReject: async (error) => void failures.push(error) },
    )
    await say({ mark })
    await until(async () => (await left()) === 0)
    expect(tries).toBe(12)
    expect(failures).toEqual([])
    expect(await lettersOf(mark)).toEqual([])
  })

  it('waits for a dependency as long as it takes, and does not hold up the messages behind it', async () => {
    const mark = randomUUID()
    let tries = 0
    const others: unknown[] = []
    await read(async (body) => {
      if ((body as { mark?: string }).mark !== mark) return void others.push(body)
      if (++tries <= 8) throw new AppError('STORE_UNAVAILABLE')
    })
    await say({ mark })
    await say({ n: 2 })
    await until(async () => tries === 9 && (await left()) === 0)
    expect(others).toEqual([{ n: 2 }])
    expect(await lettersOf(mark)).toEqual([])
  })

  it('is not redelivered while its handler works longer than the ack wait', async () => {
    let tries = 0
    const ackWaitMs = consumers(world.timings).ingest.ackWaitMs
    await read(async () => {
      tries++
      await systemClock.wait(ackWaitMs * 2.5)
    })
    await say({ n: 1 })
    await until(async () => tries > 0 && (await left()) === 0)
    expect(tries).toBe(1)
  })
})

describe('a running loop', () => {
  it('never exceeds its concurrency, and handles every message', async () => {
    let [inHand, most, done] = [0, 0, 0]
    await read(
      async () => {
        most = Math.max(most, ++inHand)
        await systemClock.wait(30)
        inHand--
        done++
      },
      { concurrency: 3 },
    )
    for (let n = 0; n < 12; n++) await say({ n })
    await until(() => done === 12)
    expect(most).toBe(3)
  })

  it('finishes the messages in hand when it is stopped, and leaves the rest to the next reader', async () => {
    const handled: unknown[] = []
    const begun = Promise.withResolvers<void>()
    const slow = await read(
      async (body) => {
        begun.resolve()
        await systemClock.wait(200)
        handled.push(body)
      },
      { concurrency: 1 },
    )
    await slow.start() // A second start changes nothing.
    for (let n = 0; n < 3; n++) await say({ n })
    await begun.promise
    await slow.stop()
    await slow.stop()
    expect(handled).toEqual([{ n: 0 }])
    await read(async (body) => void handled.push(body))
    await until(() => handled.length === 3)
    expect(handled).toEqual(expect.arrayContaining([{ n: 0 }, { n: 1 }, { n: 2 }]))
  })

  it('goes on reading after a broker restart', async () => {
    const handled: unknown[] = []
    await read(async (body) => void handled.push(body))
    await world.nats.kill()
    await world.nats.start()
    await say({ n: 1 })
    await until(() => handled.length >= 1)
  })
})
