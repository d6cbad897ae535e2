import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { provisionBroker } from '@avatar/backing-services'
import { createTestNats, freePorts, type TestNats } from '@avatar/backing-services/testing'
import {
  buckets,
  logLineSchema,
  scaledTimings,
  schemaKey,
  schemaNumber,
  schemaRecordSchema,
} from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  type Foundation,
  natsConfig,
  runService,
  runtimeConfig,
  schemaTrouble,
  stopTogether,
} from '../src/index.ts'
import { runMain, until } from '../testing/index.ts'

const schema = z.object({ ...natsConfig, ...runtimeConfig })
type Config = z.output<typeof schema>

let nats: TestNats

beforeAll(async () => {
  nats = await createTestNats()
  await nats.start()
  await provisionBroker(nats.operator, scaledTimings(1))
})

afterAll(() => nats.stop())

const environment = (port: number) => ({
  NATS_URL: nats.url,
  NATS_USER: 'janitor',
  NATS_PASSWORD: nats.passwords.janitor,
  METRICS_PORT: String(port),
  TIMINGS_DIVISOR: '10',
  LOG_LEVEL: 'silent',
})

/** What a service does, in the order in which it does it. */
function recorder() {
  const order: string[] = []
  const part = (name: string) => ({
    start: async () => void order.push(`start ${name}`),
    stop: async () => void order.push(`stop ${name}`),
  })
  return { order, part }
}

describe('a service', () => {
  it('refuses to start on a layout older than it needs, and starts on a later one', async () => {
    const bus = await nats.connectAs('operator')
    const meta = await bus.records(buckets.meta, schemaRecordSchema)
    const noted = await meta.find(schemaKey)
    if (!noted) throw new Error('provisioning notes its layout')
    await bus.purge('KV_meta', `$KV.meta.${schemaKey}`)
    expect(await schemaTrouble(bus)).toMatch(/is not provisioned: .*avatar system provision/)
    await meta.create(schemaKey, noted.value)
    expect(await schemaTrouble(bus)).toBeUndefined()
    expect(await schemaTrouble(bus, schemaNumber + 1)).toMatch(
      `holds layout ${schemaNumber}, and this release needs ${schemaNumber + 1}`,
    )
    expect(await schemaTrouble(bus, schemaNumber - 1)).toBeUndefined()

    await bus.purge('KV_meta', `$KV.meta.${schemaKey}`)
    const [port = 0] = await freePorts(1)
    const build = async () => ({ start: [], stopPhases: [] })
    const main = runMain(() => runService('janitor', schema, environment(port), build), {})
    expect(await main.stop()).toBe(3)
    await bus.stop()
    await provisionBroker(nats.operator, scaledTimings(1))
  })

  it('starts its parts in order, and stops them before the bus at a signal', async () => {
    const [port = 0] = await freePorts(1)
    const { order, part } = recorder()
    let foundation: Foundation<Config> | undefined
    const main = runMain(
      () =>
        runService('janitor', schema, environment(port), async (given) => {
          foundation = given
          const [first, second] = [part('first'), part('second')]
          const connected = {
            name: 'connected',
            deadlineMs: 1_000,
            stop: async () => void order.push(`connected ${await given.bus.ping(1_000)}`),
          }
          const stopPhases = [stopTogether('work', 1_000, [first, second]), connected]
          return { start: [first, second], stopPhases }
        }),
      {},
    )
    const health = () => fetch(`http://127.0.0.1:${port}/healthz`).catch(() => undefined)
    await until(async () => (await health())?.ok && order.length === 2)
    expect(foundation?.timings.watchEveryMs).toBe(200)
    expect(await main.stop()).toBe(0)
    expect(order).toEqual([
      'start first',
      'start second',
      'stop first',
      'stop second',
      'connected true',
    ])
    expect(await foundation?.bus.ping(1_000)).toBe(false)
    expect(await health()).toBeUndefined()
  })

  it('exits with 1 when its broker connection is closed for good', async () => {
    const [port = 0] = await freePorts(1)
    let foundation: Foundation<Config> | undefined
    const main = runMain(
      () =>
        runService('janitor', schema, environment(port), async (given) => {
          foundation = given
          return { start: [], stopPhases: [] }
        }),
      {},
    )
    await until(() => foundation)
    await foundation?.bus.stop()
    await foundation?.bus.closed()
    expect(await main.stop()).toBe(1)
  })

  it('exits with 1 when one of its parts fails to stop', async () => {
    const [port = 0] = await freePorts(1)
    const failing = {
      start: async () => undefined,
      stop: () => Promise.reject(new Error('it does not stop')),
    }
    const main = runMain(
      () =>
        runService('janitor', schema, environment(port), async () => ({
          start: [failing],
          stopPhases: [stopTogether('work', 1_000, [failing])],
        })),
      {},
    )
    await until(
      async () => (await fetch(`http://127.0.0.1:${port}/livez`).catch(() => undefined))?.ok,
    )
    expect(await main.stop()).toBe(1)
  })

  it('is not ready while the broker is frozen, stays alive, and recovers', async () => {
    const [port = 0] = await freePorts(1)
    const build = async () => ({ start: [], stopPhases: [] })
    const main = runMain(() => runService('janitor', schema, environment(port), build), {})
    const statusOf = async (page: string) =>
      (await fetch(`http://127.0.0.1:${port}${page}`).catch(() => undefined))?.status
    await until(async () => (await statusOf('/readyz')) === 200)
    process.kill(nats.pid(), 'SIGSTOP')
    try {
      await until(async () => (await statusOf('/readyz')) === 503, { timeoutMs: 10_000 })
      expect(await statusOf('/healthz')).toBe(503)
      expect(await statusOf('/livez')).toBe(200)
    } finally {
      process.kill(nats.pid(), 'SIGCONT')
    }
    await until(async () => (await statusOf('/readyz')) === 200, { timeoutMs: 5_000 })
    expect(await main.stop()).toBe(0)
  })

  /** What a service says that refuses this environment. */
  async function refusalOf(env: Record<string, string>): Promise<string> {
    const said: string[] = []
    const write = process.stderr.write
    process.stderr.write = (text: string | Uint8Array) => said.push(String(text)) > 0
    const exit = process.exit
    process.exit = (code) => {
      throw new Error(`exit ${code}`)
    }
    try {
      const running = runService('janitor', schema, env, async () => ({
        start: [],
        stopPhases: [],
      }))
      await expect(running).rejects.toThrow('exit 2')
    } finally {
      process.stderr.write = write
      process.exit = exit
    }
    const { level, msg, problems } = logLineSchema.parse(JSON.parse(said.join('')))
    expect([level, msg]).toEqual(['fatal', 'the configuration is not valid'])
    return (problems ?? []).join('\n')
  }

  it('exits with 2 and reports everything that is wrong with its environment', async () => {
    const said = await refusalOf({ NATS_URL: 'nowhere', LOG_LEVEL: 'loud' })
    for (const name of ['NATS_URL', 'NATS_USER', 'NATS_PASSWORD', 'LOG_LEVEL'])
      expect(said).toContain(name)
  })

  it('exits with 2 when it cannot listen where its configuration says', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    const { port } = taken.address() as AddressInfo
    try {
      const inUse = await refusalOf(environment(port))
      expect(inUse).toContain(`cannot listen on 127.0.0.1:${port}: EADDRINUSE`)
      expect(inUse).toContain('at METRICS_PORT')
    } finally {
      taken.close()
    }
    const elsewhere = await refusalOf({ ...environment(port), METRICS_HOST: '192.0.2.1' })
    expect(elsewhere).toContain('EADDRNOTAVAIL')
    expect(elsewhere).toContain('at METRICS_HOST')
  })
})
