import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buckets, schemaKey, schemaRecordSchema, timings } from '@avatar/contracts'
import type { RecordStore } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { provisionBroker } from '../src/index.ts'
import { binaries, createTestCluster, freePorts, type TestCluster } from '../testing/index.ts'

type Broker = TestCluster['brokers'][number]

let cluster: TestCluster

beforeAll(async () => {
  cluster = await createTestCluster()
  await cluster.start()
  await provisionBroker(cluster.operator, timings, { replicas: 3 })
})

afterAll(() => cluster?.stop())

async function schemaSeenBy(broker: Broker): Promise<number | undefined> {
  const bus = await broker.connectAs('operator')
  try {
    const meta = await bus.records(buckets.meta, schemaRecordSchema)
    return (await meta.find(schemaKey))?.value.number
  } finally {
    await bus.stop()
  }
}

const numberSchema = z.object({ n: z.number() })
type Records = RecordStore<z.output<typeof numberSchema>>

/** What work gets that reads and writes records through one broker. */
async function throughBroker<T>(broker: Broker, work: (records: Records) => Promise<T>) {
  const bus = await broker.connectAs('operator')
  try {
    return await work(await bus.records(buckets.job, numberSchema))
  } finally {
    await bus.stop()
  }
}

describe('three brokers', () => {
  it('keep every stream three times and go on when one of them is away', async () => {
    const [one, two, three] = cluster.brokers
    if (!one || !two || !three) throw new Error('a broker is missing')
    expect(await provisionBroker(two.operator, timings, { replicas: 3 })).toEqual([])
    await cluster.killNode(one.name)
    expect(
      await until(() => schemaSeenBy(three).catch(() => undefined), {
        what: 'the layout without one broker',
      }),
    ).toBeGreaterThan(0)
    await cluster.startNode(one.name)
  })

  // A copy would have nothing, or the value before, now and then: fifty times, and somebody always asks one that does.
  it('give each record as it was last written, whichever of them is asked', async () => {
    for (const broker of cluster.brokers)
      await throughBroker(broker, async (records) => {
        const begin = () => records.create(`acme.${randomUUID()}`, { n: 0 }).catch(() => undefined)
        await until(begin, { what: 'a leader' })
        for (let n = 1; n <= 50; n++) {
          const key = `acme.${randomUUID()}`
          const created = Number(await records.create(key, { n }))
          expect(await records.find(key)).toEqual({ value: { n }, revision: created })
          const revision = await records.update(key, { n: -n }, created)
          expect(await records.find(key)).toEqual({ value: { n: -n }, revision })
        }
      })
  })

  it('give no record from one that is cut off from its leader', async () => {
    const leader = await until(() => cluster.leaderOf('KV_job'), { what: 'a leader' })
    const leading = cluster.brokers.find(({ name }) => name === leader)
    const alone = cluster.brokers.find(({ name }) => name !== leader)
    if (!leading || !alone) throw new Error('a broker is missing')
    const key = `acme.${randomUUID()}`
    await throughBroker(alone, async (atAlone) => {
      const create = () => atAlone.create(key, { n: 1 }).catch(() => undefined)
      const created = Number(await until(create, { what: 'a record' }))
      await cluster.partition(alone.name)
      try {
        await throughBroker(leading, (records) => records.update(key, { n: 2 }, created))
        await expect(atAlone.find(key)).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' })
      } finally {
        cluster.heal()
      }
      const found = await until(() => atAlone.find(key).catch(() => undefined), { what: 'it' })
      expect(found.value).toEqual({ n: 2 })
    })
  })

  it('take no record for one that exists whose write may still be dropped', async () => {
    const leader = await until(() => cluster.leaderOf('KV_job'), { what: 'a leader' })
    const leading = cluster.brokers.find(({ name }) => name === leader)
    if (!leading) throw new Error('a broker is missing')
    await throughBroker(leading, async (records) => {
      const key = `acme.${randomUUID()}`
      const create = () => records.create(key, { n: 1 })
      const refused = { code: 'BROKER_UNAVAILABLE' }
      await cluster.partition(leading.name)
      try {
        await expect(create()).rejects.toMatchObject(refused)
        await expect(create()).rejects.toMatchObject(refused)
      } finally {
        cluster.heal()
      }
      await until(() => create().catch(() => undefined), { what: 'a record' })
      expect((await records.find(key))?.value).toEqual({ n: 1 })
    })
  })

  it('are left, one that is cut off from the others, by whoever has to store something', async () => {
    const bus = await cluster.connectAs('ingest')
    const connectedTo = async (user: string) => {
      for (const broker of cluster.brokers)
        if ((await clientsOf(broker)).includes(user)) return broker.name
      return undefined
    }
    const alone = await until(() => connectedTo('ingest'), { what: 'the connection' })
    await cluster.partition(alone)
    try {
      expect(await bus.publish(`evt.job.submitted.${randomUUID()}`, {})).toBe('stored')
      expect(await connectedTo('ingest')).not.toBe(alone)
    } finally {
      cluster.heal()
      await bus.stop()
    }
  })

  it('tell clients of no other address, and let no stranger into the cluster', async () => {
    const [one] = cluster.brokers
    if (!one) throw new Error('a broker is missing')
    const { connection } = await one.connectRawAs('operator')
    expect(connection.info?.connect_urls ?? []).toEqual([])
    await connection.close()

    const directory = await mkdtemp(join(tmpdir(), 'avatar-stranger-'))
    const conf = join(directory, 'stranger.conf')
    const [port = 0, routes = 0] = await freePorts(2)
    await writeFile(
      conf,
      JSON.stringify({
        ...{ server_name: 'stranger', listen: `127.0.0.1:${port}` },
        cluster: {
          name: 'avatar',
          listen: `127.0.0.1:${routes}`,
          routes: [`nats://route:guessed@${one.door}`],
        },
      }),
    )
    const stranger = spawn(join(binaries, 'nats-server'), ['-c', conf], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let log = ''
    stranger.stderr.on('data', (text) => {
      log += text
    })
    const isRefused = () => /authorization violation/i.test(log)
    await until(isRefused, { what: 'the refusal' })
    const known = await until(
      async () => {
        const met = await routesOf(one)
        return met.includes('nats-1') && met
      },
      { what: 'the other brokers' },
    )
    expect(known).not.toContain('stranger')
    const gone = once(stranger, 'exit')
    stranger.kill('SIGTERM')
    await gone
    await rm(directory, { recursive: true, force: true })
  })
})

async function clientsOf({ monitor }: Broker): Promise<string[]> {
  const answer = await fetch(`${monitor}/connz`)
  const { connections }: { connections: { name: string }[] } = JSON.parse(await answer.text())
  return connections.map(({ name }) => name)
}

async function routesOf({ monitor }: Broker): Promise<string[]> {
  const answer = await fetch(`${monitor}/routez`)
  const { routes }: { routes: { remote_name: string }[] } = JSON.parse(await answer.text())
  return routes.map(({ remote_name }) => remote_name)
}
