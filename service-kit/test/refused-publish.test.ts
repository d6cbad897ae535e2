import { randomUUID } from 'node:crypto'
import { buckets, limits } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { type Bus, createLog, createMetrics } from '../src/index.ts'
import { until } from '../testing/index.ts'
import { type BrokerWorld, createBrokerWorld } from './broker-world.ts'

let world: BrokerWorld
let bus: Bus
const lines: Record<string, unknown>[] = []
const metrics = createMetrics('janitor')

beforeAll(async () => {
  world = await createBrokerWorld()
  const destination = { write: (line: string) => void lines.push(JSON.parse(line)) }
  bus = await world.connect({ log: createLog('test', 'info', { destination }), metrics })
})

afterAll(async () => {
  await world.stop()
  await metrics.stop()
})

const linesOf = (subject: string, msg: string) =>
  lines.filter((line) => line['subject'] === subject && line['msg'] === msg)

describe('a publish to a full stream', () => {
  it('is logged within 5 s, rarely after that, counted, and stored once there is room', async () => {
    const { streams } = world.raw.manager
    const subject = `evt.job.queued.${randomUUID()}`
    const before = (await streams.info('EVENTS')).config
    await bus.publish(subject, { n: 0 })
    await streams.update('EVENTS', { ...before, max_msgs: 1, discard: 'new' as never })

    const began = performance.now()
    const waiting = [1, 2, 3].map((n) =>
      bus.publish(subject, { n }, { messageId: `${subject}${n}` }),
    )
    const notStored = 'message not stored, publishing again'
    const [line] = await until(
      () => linesOf(subject, notStored).length === 3 && linesOf(subject, notStored),
    )
    expect(performance.now() - began).toBeLessThan(5_000)
    expect(line).toMatchObject({
      level: 'error',
      code: 'STORAGE_FULL',
      reason: 'full',
      tries: 1,
    })
    const retries = /publish_retries_total\{[^}]*reason="full"[^}]*\} (\d+)/
    await until(async () => Number(retries.exec(await metrics.scrape())?.[1]) > 10)
    // The second line about a publish comes 5 s after the first.
    expect(linesOf(subject, notStored)).toHaveLength(3)

    await streams.update('EVENTS', before)
    expect(await Promise.all(waiting)).toEqual(['stored', 'stored', 'stored'])
    const bodies = (await bus.readStream('EVENTS', subject, 1, 10)).map(({ body }) => body)
    expect(bodies.toSorted()).toHaveLength(4)
    expect(linesOf(subject, 'message stored after retries')).toHaveLength(3)
  })

  it('gives up in time where somebody waits for it', async () => {
    const { streams } = world.raw.manager
    const before = (await streams.info('EVENTS')).config
    await streams.update('EVENTS', { ...before, max_msgs: 1, discard: 'new' as never })
    const given = bus.publish(`evt.job.queued.${randomUUID()}`, {}, { timeoutMs: 500 })
    await expect(given).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' })
    await streams.update('EVENTS', before)
  })
})

describe('a publish that can never pass is refused at once', () => {
  const refused = { code: 'PUBLISH_REFUSED' }

  it('where the user has no permission', async () => {
    const janitor = await world.nats.connectAs('janitor')
    const subject = `evt.job.queued.${randomUUID()}`
    await expect(janitor.publish(subject, {})).rejects.toMatchObject({
      ...refused,
      details: { subject },
    })
    await janitor.stop()
  })

  it('where the message is larger than the stream takes, or than the broker does', async () => {
    const subject = `evt.job.queued.${randomUUID()}`
    for (const bytes of [limits.messageMaxBytes + 1, 2 ** 20 + 1])
      await expect(bus.publish(subject, 'x'.repeat(bytes))).rejects.toMatchObject(refused)
  })

  it('where there is no such stream', async () => {})

  it('where a record is larger than its bucket takes', async () => {
    const records = await bus.records(buckets.apikey, z.string())
    const tooLarge = 'x'.repeat(buckets.apikey.maxValueBytes + 1)
    await expect(records.create('large', tooLarge)).rejects.toMatchObject(refused)
  })
})
