import { randomUUID } from 'node:crypto'
import { buckets } from '@avatar/contracts'
import { jetstream } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import type { Change, RecordStore } from '../src/index.ts'
import { until } from '../testing/index.ts'
import { type BrokerWorld, createBrokerWorld } from './broker-world.ts'

const schema = z.object({ n: z.number() })
type Value = z.output<typeof schema>

let world: BrokerWorld
let records: RecordStore<Value>

beforeAll(async () => {
  world = await createBrokerWorld()
  records = await world.bus.records(buckets.job, schema)
})

afterAll(() => world.stop())

const aKey = (owner = 'acme') => `${owner}.${randomUUID()}`

/** The ways in which a value leaves the bucket. */
const removals: Record<string, (key: string, revision: number) => Promise<unknown>> = {
  expired: (key, revision) => records.update(key, { n: 1 }, revision, { ttlMs: 1_000 }),
  'was deleted': async (key) => (await rawBucket()).delete(key),
  'was purged': async (key) => (await rawBucket()).purge(key),
  'was purged, with a marker that expires': async (key) =>
    (await rawBucket()).purge(key, { ttl: '5s' }),
  'was erased from the stream': (key) =>
    world.raw.manager.streams.purge('KV_job', { filter: `$KV.job.${key}` }),
}

const rawBucket = () => new Kvm(world.raw.connection).open(buckets.job.name)

/** Follows every value and change, or those from a revision on. */
function follow(store: RecordStore<Value>, fromRevision?: number) {
  const abort = new AbortController()
  const seen: Change<Value>[] = []
  const state = { isCurrent: false }
  const following = (async () => {
    const becomeCurrent = () => {
      state.isCurrent = true
    }
    for await (const change of store.watch(abort.signal, becomeCurrent, fromRevision))
      seen.push(change)
  })()
  const stop = () => {
    abort.abort()
    return following
  }
  return { seen, state, stop, ended: following }
}

describe('an empty bucket', () => {
  it('is current at once, and its watch yields the first value', async () => {
    const keys = await world.bus.records(buckets.apikey, schema)
    const { seen, state, stop } = follow(keys)
    await until(() => state.isCurrent)
    expect(await keys.list()).toEqual([])
    await keys.create('aaaaaaaaaaaa', { n: 1 })
    await until(() => seen.length === 1)
    await stop()
    expect(await keys.list()).toEqual([{ n: 1 }])
  })
})

describe('a record', () => {
  it('is created once, and changed only from its last revision', async () => {
    const key = aKey()
    expect(await records.find(key)).toBeUndefined()
    const first = await records.create(key, { n: 1 })
    expect(await records.create(key, { n: 2 })).toBe('exists')
    expect(await records.find(key)).toEqual({ value: { n: 1 }, revision: first })
    const second = await records.update(key, { n: 3 }, Number(first))
    expect(second).toBeGreaterThan(Number(first))
    expect(await records.update(key, { n: 4 }, Number(first))).toBe('conflict')
    expect((await records.find(key))?.value).toEqual({ n: 3 })
  })

  it('is found by a wildcard in its key', async () => {
    const key = aKey('other')
    await records.create(key, { n: 5 })
    const found = await records.findMatching(`*.${key.slice(6)}`)
    expect(found?.value).toEqual({ n: 5 })
    expect(await records.findMatching(`*.${randomUUID()}`)).toBeUndefined()
  })

  it('expires after its time to live', async () => {
    const key = aKey()
    const revision = await records.create(key, { n: 1 })
    await records.update(key, { n: 2 }, Number(revision), { ttlMs: 1_000 })
    expect((await records.find(key))?.value).toEqual({ n: 2 })
    await until(async () => (await records.find(key)) === undefined)
    expect(await records.findMatching(key)).toBeUndefined()
  })

  it.each(Object.keys(removals))('that %s may be created again, once', async (how) => {
    const key = aKey()
    const first = Number(await records.create(key, { n: 1 }))
    await removals[how]?.(key, first)
    await until(async () => (await records.find(key)) === undefined)
    const values = [2, 3, 4]
    const created = await Promise.all(values.map((n) => records.create(key, { n })))
    const [revision, ...others] = created.filter((outcome) => outcome !== 'exists')
    expect(others).toEqual([])
    expect(revision).toBeGreaterThan(first)
    const n = values[created.indexOf(Number(revision))]
    expect(await records.find(key)).toEqual({ value: { n }, revision })
    expect(await records.update(key, { n: 9 }, first)).toBe('conflict')
  })

  it('that does not follow its schema is our fault, and hides no other record', async () => {
    const [wrong, right] = [aKey(), aKey()]
    await jetstream(world.raw.connection).publish(`$KV.job.${wrong}`, '{"n":"text"}')
    await expect(records.find(wrong)).rejects.toMatchObject({ code: 'UNEXPECTED' })
    const { seen, state, stop } = follow(records)
    await until(() => state.isCurrent)
    await records.create(right, { n: 8 })
    await until(() => seen.some(({ key }) => key === right))
    expect(seen.some(({ key }) => key === wrong)).toBe(false)
    await stop()
  })
})

describe('a watch', () => {
  it('yields all values first, then is current, then yields changes and removals', async () => {
    const keys = [aKey(), aKey(), aKey()]
    for (const key of keys) await records.create(key, { n: 1 })
    const { seen, state, stop } = follow(records)
    await until(() => state.isCurrent)
    for (const key of keys) expect(seen.map((change) => change.key)).toContain(key)
    const [changed = '', expiring = ''] = keys
    const revision = seen.find(({ key }) => key === changed)?.revision ?? 0
    await records.update(changed, { n: 2 }, revision)
    const expiringRevision = seen.find(({ key }) => key === expiring)?.revision ?? 0
    await records.update(expiring, { n: 3 }, expiringRevision, { ttlMs: 1_000 })
    await until(() => seen.some(({ key, value }) => key === changed && value?.n === 2))
    await until(() => seen.some(({ key, value }) => key === expiring && value === undefined))
    await stop()
  })
})

describe('a watch of what this process writes', () => {
  it('yields it without another parse, and parses what others write', async () => {
    let parses = 0
    const counting = schema.refine(() => ++parses)
    const own = await world.bus.records(buckets.job, counting)
    const { seen, state, stop } = follow(own)
    await until(() => state.isCurrent)
    const [mine, theirs] = [aKey(), aKey()]
    parses = 0
    const first = Number(await own.create(mine, { n: 1 }))
    await own.update(mine, { n: 2 }, first)
    await records.create(theirs, { n: 3 })
    await until(() => seen.some(({ key }) => key === theirs))
    const told = seen.filter(({ key }) => key === mine || key === theirs)
    expect(told.at(-2)).toMatchObject({ key: mine, value: { n: 2 } })
    expect(told.at(-1)).toMatchObject({ key: theirs, value: { n: 3 } })
    expect(parses).toBe(1)
    await stop()
  })

  it('yields what is stored after a write that lost', async () => {
    const own = await world.bus.records(buckets.job, schema)
    const key = aKey()
    const first = Number(await records.create(key, { n: 1 }))
    const { seen, state, stop } = follow(own)
    await until(() => state.isCurrent)
    await records.update(key, { n: 2 }, first)
    expect(await own.update(key, { n: 3 }, first)).toBe('conflict')
    await until(() => seen.some(({ value }) => value?.n === 2))
    await stop()
    expect(seen.filter((change) => change.key === key).map(({ value }) => value?.n)).not.toContain(
      3,
    )
  })
})

describe('a list', () => {
  it('tells each value once, whatever is written meanwhile, and leaves nothing at the broker', async () => {
    const keys = await world.bus.records(buckets.apikey, schema)
    const before = await keys.list()
    const owner = randomUUID()
    const numbers = Array.from({ length: 500 }, (_, n) => n)
    const revisions = await Promise.all(numbers.map((n) => keys.create(`${owner}.${n}`, { n })))
    const changing = Promise.all(
      numbers.map((n) => keys.update(`${owner}.${n}`, { n: n + 500 }, Number(revisions[n]))),
    )
    expect(await keys.list()).toHaveLength(before.length + numbers.length)
    await changing
    const after = (await keys.list()).map(({ n }) => n)
    expect(after).toEqual(expect.arrayContaining(numbers.map((n) => n + 500)))
    expect(after).toHaveLength(before.length + numbers.length)
    expect((await world.raw.manager.streams.info('KV_apikey')).state.consumer_count).toBe(0)
  })
})

describe('a watch whose consumer the broker has lost', () => {
  it('ends, for another one to go on behind it', async () => {
    const { state, ended } = follow(records)
    await until(() => state.isCurrent)
    const { consumers } = world.raw.manager
    for await (const { name } of consumers.list('KV_job')) await consumers.delete('KV_job', name)
    await ended
  })
})

describe('a watch that resumes', () => {
  it('yields only what came after the revision that it names, and is current after that', async () => {
    const [before, after] = [aKey(), aKey()]
    const seenUpTo = Number(await records.create(before, { n: 1 }))
    const revision = await records.create(after, { n: 2 })
    const { seen, state, stop } = follow(records, seenUpTo + 1)
    await until(() => state.isCurrent && seen.length > 0)
    expect(seen).toMatchObject([{ key: after, value: { n: 2 }, revision }])
    await stop()
  })

  it('is current at once when nothing has changed since', async () => {
    const seenUpTo = Number(await records.create(aKey(), { n: 1 }))
    const { seen, state, stop } = follow(records, seenUpTo + 1)
    await until(() => state.isCurrent)
    expect(seen).toEqual([])
    const next = aKey()
    await records.create(next, { n: 2 })
    await until(() => seen.some(({ key }) => key === next))
    await stop()
  })
})

describe('an unavailable broker', () => {
  it('fails every call with BROKER_UNAVAILABLE', async () => {
    const key = aKey()
    await world.nats.kill()
    const away = { code: 'BROKER_UNAVAILABLE' }
    await Promise.all([
      expect(records.find(key)).rejects.toMatchObject(away),
      expect(records.findMatching(key)).rejects.toMatchObject(away),
      expect(records.create(key, { n: 1 })).rejects.toMatchObject(away),
      expect(records.update(key, { n: 1 }, 1)).rejects.toMatchObject(away),
      expect(records.list()).rejects.toMatchObject(away),
    ])
    // The client's own patience would be five seconds; whoever waits at the door has two.
    const began = performance.now()
    await expect(records.find(key)).rejects.toMatchObject(away)
    expect(performance.now() - began).toBeLessThan(4_500)
    await world.nats.start()
    await until(async () => (await records.find(key).catch(() => 'away')) === undefined)
  })
})
