import { randomUUID } from 'node:crypto'
import { until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readAll } from '../src/index.ts'
import { type BrokerWorld, createBrokerWorld } from './broker-world.ts'

let world: BrokerWorld
beforeAll(async () => {
  world = await createBrokerWorld()
})
afterAll(() => world.stop())

/** Subjects of a test's own in a stream that anybody may fill. */
function ownSubject() {
  const topic = `ledger.test.${randomUUID()}`
  return { topic, put: (number: number) => world.bus.publish(`${topic}.${number}`, { number }) }
}

function follow(topic: string, fromSequence?: number) {
  const abort = new AbortController()
  const seen: { number: unknown; sequence: number }[] = []
  let isCurrent = false
  const ended = world.bus.followStream('LEDGER', `${topic}.*`, {
    signal: abort.signal,
    ...(fromSequence === undefined ? {} : { fromSequence }),
    onMessage: ({ body, sequence }) =>
      void seen.push({ number: (body as { number: number }).number, sequence }),
    onCurrent() {
      isCurrent = true
    },
  })
  ended.catch(() => undefined)
  return {
    seen,
    numbers: () => seen.map(({ number }) => number),
    current: () => until(() => isCurrent, { what: 'to be current' }),
    ended,
    stop: () => {
      abort.abort()
      return ended
    },
  }
}

const consumers = async () => (await world.raw.manager.streams.info('LEDGER')).state.consumer_count

describe('following a stream', () => {
  it('hands over what is there in order, says so, and goes on with what comes', async () => {
    const { topic, put } = ownSubject()
    for (const number of [1, 2, 3]) await put(number)
    const following = follow(topic)
    await following.current()
    expect(following.numbers()).toEqual([1, 2, 3])
    await put(4)
    await until(() => following.seen.length === 4)
    await following.stop()
    await put(5)
    expect(following.numbers()).toEqual([1, 2, 3, 4])
  })

  it('is current at once where there is nothing', async () => {
    const { topic, put } = ownSubject()
    const following = follow(topic)
    await following.current()
    await put(1)
    await until(() => following.seen.length === 1)
    await following.stop()
  })

  it('begins after what was seen before', async () => {
    const { topic, put } = ownSubject()
    for (const number of [1, 2]) await put(number)
    const before = follow(topic)
    await before.current()
    await before.stop()
    await put(3)
    const after = follow(topic, Number(before.seen.at(-1)?.sequence) + 1)
    await after.current()
    expect(after.numbers()).toEqual([3])
    await after.stop()
  })

  it('leaves nothing at the broker when it is stopped', async () => {
    const { topic } = ownSubject()
    const before = await consumers()
    const following = follow(topic)
    await following.current()
    expect(await consumers()).toBe(before + 1)
    await following.stop()
    expect(await consumers()).toBe(before)
  })

  it('reads all that is there and ends', async () => {
    const { topic, put } = ownSubject()
    for (const number of [1, 2]) await put(number)
    const read = await readAll((options) => world.bus.followStream('LEDGER', `${topic}.*`, options))
    expect(read.map(({ body }) => body)).toEqual([{ number: 1 }, { number: 2 }])
    expect(
      await readAll((options) => world.bus.followStream('LEDGER', 'ledger.no.x', options)),
    ).toEqual([])
  })

  it('fails for a stream that does not exist', async () => {
    const failing = world.bus.followStream('NOWHERE', 'x', {
      signal: new AbortController().signal,
      onMessage: () => undefined,
    })
    await expect(failing).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' })
  })

  it('ends with an error when the connection is lost', async () => {
    const { topic } = ownSubject()
    const following = follow(topic)
    await following.current()
    await world.nats.kill()
    await expect(following.ended).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' })
    await world.nats.start()
  })
})
