import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { AppError, type Bus, createLog, responder, subscription } from '../src/index.ts'
import { itKeepsTheRunnableContract, until } from '../testing/index.ts'
import { type BrokerWorld, createBrokerWorld } from './broker-world.ts'

const schema = z.object({ n: z.number() })

let world: BrokerWorld
let bus: Bus
const lines: Record<string, unknown>[] = []

beforeAll(async () => {
  world = await createBrokerWorld()
  const destination = { write: (line: string) => void lines.push(JSON.parse(line)) }
  bus = await world.connect({ log: createLog('test', 'info', { destination }) })
})

afterAll(() => world.stop())

/** How many subscriptions to a subject the broker knows. */
async function subscribers(subject: string): Promise<number> {
  const answer = await fetch(`${world.nats.monitor}/connz?subs=1`)
  const { connections } = z
    .object({
      connections: z.array(z.object({ subscriptions_list: z.array(z.string()).optional() })),
    })
    .parse(await answer.json())
  return connections.flatMap((each) => each.subscriptions_list ?? []).filter((s) => s === subject)
    .length
}

describe('a subscription', () => {
  itKeepsTheRunnableContract(() => ({
    runnable: subscription({ bus, subject: 'beat.contract', schema, handle: () => undefined }),
    atWork: () => subscribers('beat.contract'),
  }))

  it('hands over typed messages, and logs and ignores the others', async () => {
    const seen: number[] = []
    const part = subscription({
      bus,
      subject: 'beat.typed',
      schema,
      handle: ({ n }) => void seen.push(n),
    })
    await part.start()
    await bus.ping(1_000)
    world.raw.connection.publish('beat.typed', 'no json')
    world.raw.connection.publish('beat.typed', '{"n":"one"}')
    world.raw.connection.publish('beat.typed', '{"n":1}')
    await until(() => seen.length > 0)
    await part.stop()
    expect(seen).toEqual([1])
    const ignored = lines.filter(
      ({ msg, subject }) => msg === 'message ignored' && subject === 'beat.typed',
    )
    expect(ignored.map(({ code }) => code)).toEqual(['INVALID_MESSAGE', 'INVALID_MESSAGE'])
  })
})

describe('a responder', () => {
  itKeepsTheRunnableContract(() => ({
    runnable: responder({
      bus,
      subject: 'ctl.contract',
      queue: 'q',
      schema,
      answer: async () => 1,
    }),
    atWork: () => subscribers('ctl.contract'),
  }))

  it('answers failures and invalid requests by their code', async () => {
    const part = responder({
      ...{ bus, subject: 'ctl.failing', schema },
      answer: () => Promise.reject(new AppError('STORE_UNAVAILABLE')),
    })
    await part.start()
    await bus.ping(1_000)
    const ask = (body: unknown) => bus.request('ctl.failing', body, { timeoutMs: 5_000 })
    expect(await ask({ n: 1 })).toEqual({ answer: 'error', code: 'STORE_UNAVAILABLE' })
    expect(await ask({ n: 'one' })).toEqual({ answer: 'error', code: 'INVALID_MESSAGE' })
    await part.stop()
  })

  it('has answered the requests in hand before its stop resolves', async () => {
    const working = Promise.withResolvers<void>()
    const mayEnd = Promise.withResolvers<void>()
    const part = responder({
      ...{ bus, subject: 'ctl.slow', schema },
      async answer({ n }) {
        working.resolve()
        await mayEnd.promise
        return { n }
      },
    })
    await part.start()
    await bus.ping(1_000)
    const asked = bus.request('ctl.slow', { n: 7 }, { timeoutMs: 10_000 })
    await working.promise
    const order: string[] = []
    const stopping = part.stop().then(() => order.push('stopped'))
    const answered = asked.then((answer) => order.push(JSON.stringify(answer)))
    await bus.ping(1_000)
    expect(order).toEqual([])
    mayEnd.resolve()
    await Promise.all([stopping, answered])
    expect(order.toSorted()).toEqual(['stopped', '{"n":7}'])
  })
})
