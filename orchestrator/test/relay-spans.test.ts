import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { createTestNats } from '@avatar/backing-services/testing'
import { subjects } from '@avatar/contracts'
import { type Bus, createLog, type Runnable, systemClock } from '@avatar/service-kit'
import { itKeepsTheRunnableContract, until } from '@avatar/service-kit/testing'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { createSpanRelay } from '../src/relay-spans.ts'

const log = createLog('test', 'silent')
const nats = await createTestNats()
let bus: Bus
let worker: Bus
const stops: (() => Promise<unknown>)[] = []

beforeAll(async () => {
  await nats.start()
  ;[bus, worker] = await Promise.all([
    nats.connectAs('orchestrator', { log }),
    nats.connectAs('sidecar', { log }),
  ])
})
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})
afterAll(async () => {
  await Promise.all([bus.stop(), worker.stop()])
  await nats.stop()
})

const message = (spans: number) => ({
  resourceSpans: [
    { scopeSpans: [{ spans: Array.from({ length: spans }, () => ({ name: 'render' })) }] },
  ],
})

/** A relay to a collector that answers as it is told. */
async function relaying(answer: (response: ServerResponse, body: Buffer) => void) {
  const posted: {
    url: string | undefined
    type: string | undefined
    token: unknown
    body: Buffer
  }[] = []
  const server = createServer(async (request, response) => {
    const { url, headers } = request
    const { 'content-type': type, 'x-token': token } = headers
    const body = await buffer(request)
    posted.push({ url, type, token, body })
    answer(response, body)
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as AddressInfo // It listens on a port.
  let dropped = 0
  const metrics = {
    countDroppedSpans: (spans: number) => {
      dropped += spans
    },
  }
  const collector = { url: `http://127.0.0.1:${port}/v1/traces`, headers: { 'x-token': 'sesame' } }
  const [relay] = createSpanRelay({ bus, clock: systemClock, log, metrics, collector })
  await relay?.start()
  await bus.ping(5_000) // The subscription has reached the broker.
  stops.push(async () => {
    server.closeAllConnections()
    server.close()
    await relay?.stop()
  })
  const say = (body: unknown) => worker.publishCore(subjects.spans('w1'), body)
  return { posted, say, dropped: () => dropped, stop: async () => relay?.stop() }
}

it('posts what a worker says, to the byte', async () => {
  const { posted, say, dropped } = await relaying((response) => response.end('{}'))
  say(message(2))
  await until(() => posted.length === 1)
  expect(posted).toEqual([
    {
      ...{ url: '/v1/traces', type: 'application/json', token: 'sesame' },
      body: Buffer.from(JSON.stringify(message(2))),
    },
  ])
  expect(dropped()).toBe(0)
})

it('joins what several workers say meanwhile, as if one had said it', async () => {
  const { posted, say } = await relaying((response) => response.end('{}'))
  const all = () => posted.flatMap(({ body }) => JSON.parse(body.toString()).resourceSpans)
  for (let left = 20; left > 0; left--) say(message(2))
  await until(() => all().length === 20)
  expect(posted.length).toBeLessThan(20)
  const [resource] = message(2).resourceSpans
  expect(all()).toEqual(Array.from({ length: 20 }, () => resource))
})

it('drops and counts what the collector refuses, and what is no OTLP', async () => {
  const { posted, say, dropped } = await relaying((response) => response.writeHead(400).end())
  say(message(3))
  await until(() => dropped() === 3)
  say('nonsense')
  await until(() => dropped() === 4)
  expect(posted).toHaveLength(1)
})

it('loses nothing but the nonsense where a worker says something that looks like OTLP', async () => {
  const { posted, say, dropped } = await relaying((response, body) =>
    response.writeHead(body.includes('nonsense') ? 400 : 200).end(),
  )
  say({ resourceSpans: ['nonsense'] })
  say(message(3))
  await until(() => posted.some(({ body }) => body.equals(Buffer.from(JSON.stringify(message(3))))))
  await until(() => dropped() === 1)
})

it('has four posts under way, drops what comes meanwhile, and gives up the rest in time', async () => {
  const { posted, say, dropped } = await relaying(() => undefined)
  for (let left = 100; left > 0; left--) say(message(2))
  await until(() => dropped() === 40)
  expect(posted.length).toBeLessThanOrEqual(4)
  await until(() => dropped() === 200)
})

it('gives up what is under way half a second after it is stopped', async () => {
  const { posted, say, dropped, stop } = await relaying(() => undefined)
  say(message(3))
  await until(() => posted.length === 1)
  await stop()
  await until(() => dropped() === 3, { timeoutMs: 1_000 })
})

it('is no part without a collector', () => {
  const metrics = { countDroppedSpans: () => undefined }
  expect(createSpanRelay({ bus, clock: systemClock, log, metrics, collector: undefined })).toEqual(
    [],
  )
})

/** How many relays the broker knows. */
async function subscribers() {
  await bus.ping(5_000) // What was said before has reached it.
  const answer = await (await fetch(`${nats.monitor}/connz?subs=1`)).text()
  return answer.split(`"${subjects.spans('*')}"`).length - 1
}

itKeepsTheRunnableContract(() => {
  const metrics = { countDroppedSpans: () => undefined }
  const collector = { url: 'http://127.0.0.1:9/v1/traces', headers: {} }
  const [runnable] = createSpanRelay({ bus, clock: systemClock, log, metrics, collector }) as [
    Runnable,
  ]
  return { runnable, atWork: subscribers }
})
