import { provisionBroker } from '@avatar/backing-services'
import { createTestNats, freePorts, type TestNats } from '@avatar/backing-services/testing'
import { scaledTimings } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  type Foundation,
  natsConfig,
  runService,
  runtimeConfig,
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
}, 60_000)

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
  it('starts its parts in order, and stops them before the bus at a signal', async () => {
    const [port = 0] = await freePorts(1)
    const { order, part } = recorder()
    let foundation: Foundation<Config> | undefined
    const main = runMain(
      () =>
        runService('test', schema, environment(port), async (given) => {
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
        runService('test', schema, environment(port), async (given) => {
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
        runService('test', schema, environment(port), async () => ({
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
    const main = runMain(() => runService('test', schema, environment(port), build), {})
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
  }, 40_000)

  it('exits with 2 and reports everything that is wrong with its environment', async () => {
    const said: string[] = []
    const write = process.stderr.write
    process.stderr.write = (text: string | Uint8Array) => said.push(String(text)) > 0
    const exit = process.exit
    process.exit = (code) => {
      throw new Error(`exit ${code}`)
    }
    try {
      const wrong = { NATS_URL: 'nowhere', LOG_LEVEL: 'loud' }
      const running = runService('test', schema, wrong, async () => ({ start: [], stopPhases: [] }))
      await expect(running).rejects.toThrow('exit 2')
    } finally {
      process.stderr.write = write
      process.exit = exit
    }
    for (const name of ['NATS_URL', 'NATS_USER', 'NATS_PASSWORD', 'LOG_LEVEL', 'METRICS_PORT'])
      expect(said.join('')).toContain(name)
  })
})
