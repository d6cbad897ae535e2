import { provisionBroker } from '@avatar/backing-services'
import { createTestNats, type TestNats } from '@avatar/backing-services/testing'
import { buckets, type Rate, rateStateSchema, scaledTimings } from '@avatar/contracts'
import { type Bus, createLog, createMetrics, type Metrics, systemClock } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { DiscardPolicy } from '@nats-io/jetstream'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { createTokens, type Tokens } from '../src/rate/tokens.ts'

const log = createLog('test', 'silent')
const stream = `KV_${buckets.rate.name}`
/** One token in ten minutes: none comes back while a test runs. */
const never = (burst: number): Rate => ({ perMinute: 0.1, burst })

type Replica = { tokens: Tokens; bus: Bus; metrics: Metrics }

let nats: TestNats
let raw: Awaited<ReturnType<TestNats['connectRawAs']>>
const replicas: Replica[] = []
let keys = 0

beforeAll(async () => {
  nats = await createTestNats()
  await nats.start()
  await provisionBroker(nats.operator, scaledTimings(1))
  raw = await nats.connectRawAs('operator')
})

afterEach(async () => {
  for (const { bus, metrics } of replicas.splice(0)) {
    await bus.stop()
    await metrics.stop()
  }
})

afterAll(async () => {
  await raw.connection.close()
  await nats.stop()
})

async function createReplica(): Promise<Replica> {
  const bus = await nats.connectAs('ingest', { log })
  const metrics = createMetrics('ingest')
  const records = await bus.records(buckets.rate, rateStateSchema)
  const tokens = createTokens({ bus, clock: systemClock, log, metrics, records })
  const replica = { tokens, bus, metrics }
  replicas.push(replica)
  return replica
}

const newKey = () => `o_${++keys}.submit`
const lastSequence = async () => (await raw.manager.streams.info(stream)).state.last_seq

/** How many of `count` jobs at once are let in, in turn through each of these replicas. */
async function letIn(count: number, rate: Rate, key: string, ...through: Replica[]) {
  const calls = Array.from({ length: count }, (_, n) =>
    through[n % through.length]?.tokens.take(key, rate),
  )
  return (await Promise.all(calls)).filter((taken) => taken?.isLetIn && !taken.isBrokerAway).length
}

/** How many messages the broker has received from its clients. */
async function received(): Promise<number> {
  const answer = await fetch(`${nats.monitor}/varz`)
  return ((await answer.json()) as { in_msgs: number }).in_msgs
}

describe('the tokens of a bucket', () => {
  it('are as many for two replicas as for one, and taken by few writes', async () => {
    const [one, two] = [await createReplica(), await createReplica()]
    const key = newKey()
    const before = await lastSequence()
    expect(await letIn(200, never(20), key, one, two)).toBe(20)
    expect((await lastSequence()) - before).toBeLessThanOrEqual(10)
    expect(await letIn(10, never(20), key, two)).toBe(0)
    // Whoever has seen nothing yet learns it from the others.
    expect(await letIn(10, never(20), key, await createReplica())).toBe(0)
  })

  it('are those of this key alone', async () => {
    const replica = await createReplica()
    const key = newKey()
    expect(await letIn(5, never(3), key, replica)).toBe(3)
    expect(await letIn(5, never(3), newKey(), replica)).toBe(3)
    expect(replica.tokens.look(key, never(3)).isLetIn).toBe(false)
    expect(replica.tokens.look(newKey(), never(3)).isLetIn).toBe(true)
  })

  it('come back with time', async () => {
    const replica = await createReplica()
    const key = newKey()
    const rate = { perMinute: 600, burst: 2 }
    expect(await letIn(3, rate, key, replica)).toBe(2)
    await until(async () => (await replica.tokens.take(key, rate)).isLetIn)
  })

  it('are there again once their state is old enough to be dropped', async () => {
    const [one, two] = [await createReplica(), await createReplica()]
    const key = newKey()
    const rate = { perMinute: 600, burst: 5 }
    await letIn(5, rate, key, one)
    await raw.manager.streams.purge(stream, { filter: `$KV.rate.${key}` })
    await until(() => one.tokens.look(key, rate).remaining === 4)
    expect(await letIn(4, rate, key, one, two)).toBe(4)
  })
})

describe('a refusal', () => {
  it('costs the broker nothing', async () => {
    const [one, two] = [await createReplica(), await createReplica()]
    const key = newKey()
    await letIn(40, never(20), key, one, two)
    const before = await received()
    expect(await letIn(20_000, never(20), key, one, two)).toBe(0)
    expect((await received()) - before).toBeLessThan(100)
  })
})

describe('without the bucket', () => {
  it('a replica goes on by what it knows, and makes the bucket again', async () => {
    const [one, two] = [await createReplica(), await createReplica()]
    const key = newKey()
    expect(await letIn(7, never(10), key, one, two)).toBe(7)
    await raw.manager.streams.delete(stream)
    // Each knows at least what it took itself.
    expect(await letIn(20, never(10), key, one, two)).toBeLessThanOrEqual(10)
    const { config } = await raw.manager.streams.info(stream)
    expect(config).toMatchObject({ storage: 'memory', discard: 'old', max_bytes: 64 * 2 ** 20 })
    // Whoever starts now knows nothing: one more burst, and no more.
    await raw.manager.streams.delete(stream)
    const fresh = [await createReplica(), await createReplica()]
    expect(await letIn(40, never(10), key, ...fresh)).toBe(10)
    expect(await letIn(40, never(10), key, ...fresh, one, two)).toBe(0)
  })

  it('that is full, a replica decides alone', async () => {
    const replica = await createReplica()
    const { config } = await raw.manager.streams.info(stream)
    await raw.manager.streams.update(stream, { discard: DiscardPolicy.New, max_bytes: 1 })
    const key = newKey()
    expect(await letIn(5, never(3), key, replica)).toBe(3)
    expect(await replica.metrics.scrape()).toMatch(/rate_decided_alone_total\{[^}]*reason="full"/)
    await raw.manager.streams.update(stream, config)
    expect(await letIn(5, never(3), key, replica)).toBe(0)
  })
})

describe('without the broker', () => {
  it('a replica decides soon, by what it knows, and says that it is alone', async () => {
    const replica = await createReplica()
    const key = newKey()
    expect(await letIn(2, never(5), key, replica)).toBe(2)
    process.kill(nats.pid(), 'SIGSTOP')
    try {
      await until(async () => !(await replica.bus.ping(100)), { what: 'a broker that is stopped' })
      const beganMs = performance.now()
      const taken = await replica.tokens.take(key, never(5))
      const durationMs = performance.now() - beganMs
      expect(taken).toMatchObject({ isLetIn: true, isBrokerAway: true, remaining: 2 })
      expect(durationMs).toBeLessThan(2_000)
      const more = Array.from({ length: 10 }, () => replica.tokens.take(key, never(5)))
      expect((await Promise.all(more)).filter(({ isLetIn }) => isLetIn)).toHaveLength(2)
      expect(await replica.tokens.take(key, never(5))).toMatchObject({ isLetIn: false })
    } finally {
      process.kill(nats.pid(), 'SIGCONT')
    }
    expect(await replica.metrics.scrape()).toMatch(/rate_decided_alone_total\{[^}]*reason="away"/)
    // What was taken alone is counted once it answers again.
    const next = newKey()
    await until(async () => !(await replica.tokens.take(next, never(1_000))).isBrokerAway)
    expect(await letIn(10, never(5), key, replica)).toBe(0)
  })

  it('that is killed and comes back, nobody gets more than one more burst', async () => {
    const [one, two] = [await createReplica(), await createReplica()]
    const key = newKey()
    const first = letIn(100, never(20), key, one, two)
    await nats.kill()
    let all = await first
    all += await letIn(100, never(20), key, one, two)
    await nats.start()
    await until(async () => {
      all += await letIn(20, never(20), key, one, two)
      const { isBrokerAway } = await one.tokens.take(newKey(), never(5))
      return !isBrokerAway && raw.manager.streams.info(stream).catch(() => undefined)
    })
    all += await letIn(20, never(20), key, one, two, await createReplica())
    expect(all).toBeLessThanOrEqual(40)
  })
})
