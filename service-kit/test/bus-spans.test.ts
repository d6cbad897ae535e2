import { consumers } from '@avatar/contracts'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { z } from 'zod'
import {
  AppError,
  type ConsumerLoopOptions,
  consumerLoop,
  continueFrom,
  continueTrace,
  createMetrics,
  rootTrace,
  systemClock,
  withSpan,
} from '../src/index.ts'
import { openSpanNotebook, until } from '../testing/index.ts'
import { type BrokerWorld, createBrokerWorld, log } from './broker-world.ts'

const subject = 'intake.acme.job.submitted'
const kept = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
const published = 'publish intake.{publisher}.job.submitted'
const processed = 'process intake.{publisher}.job.submitted'

let world: BrokerWorld
let notebook: ReturnType<typeof openSpanNotebook>
const loops: { stop(): Promise<void> }[] = []

beforeAll(async () => {
  world = await createBrokerWorld({ divisor: 50 })
})
beforeEach(() => {
  notebook = openSpanNotebook()
})
afterEach(async () => {
  for (const loop of loops.splice(0)) await loop.stop()
  await notebook.stop()
  await world.raw.manager.streams.purge('INTAKE', { filter: subject })
})
afterAll(() => world.stop())

type Options = ConsumerLoopOptions<z.ZodUnknown>

async function read(handle: Options['handle'], options: Partial<Options> = {}) {
  const { bus, timings } = world
  const spec = consumers(timings).ingest
  const loop = consumerLoop({
    ...{ bus, spec, timings, log, handle, concurrency: 4, clock: systemClock },
    ...{ schema: z.unknown(), metrics: createMetrics('ingest') },
    ...options,
  })
  loops.push(loop)
  await loop.start()
}

const say = (traceparent?: string) =>
  world.bus.publish(subject, {}, { messageId: crypto.randomUUID(), traceparent })
const written = (name: string, count = 1) =>
  until(() => {
    const found = notebook.spans.filter((span) => span.name === name)
    return found.length >= count && found
  })
const one = async (name: string) => (await written(name))[0] ?? expect.fail()

it('hangs a message below whoever sent it, and its work below the message', async () => {
  await read(async () => withSpan('verify', {}, async () => undefined))
  await continueFrom(kept, {}, () => withSpan('create record', {}, () => say()))
  const processing = await one(processed)
  const [sender, publishing, work] = ['create record', published, 'verify'].map(notebook.find)
  expect(publishing?.trace.parentSpanId).toBe(sender?.trace.spanId)
  expect(processing.trace.parentSpanId).toBe(publishing?.trace.spanId)
  expect(work?.trace.parentSpanId).toBe(processing.trace.spanId)
  for (const span of notebook.spans) expect(span.trace.traceId).toBe('a'.repeat(32))
  expect(publishing).toMatchObject({
    kind: 'producer',
    attributes: {
      'messaging.system': 'nats',
      'messaging.operation.type': 'send',
      'messaging.destination.template': 'intake.{publisher}.job.submitted',
    },
  })
  expect(processing).toMatchObject({
    kind: 'consumer',
    isError: false,
    attributes: {
      'messaging.operation.type': 'process',
      'messaging.message.id': publishing?.attributes['messaging.message.id'],
      'messaging.consumer.group.name': 'ingest',
      'avatar.delivery': 1,
    },
  })
})

it('takes the trace that is given where nothing is active', async () => {
  const told: string[] = []
  await read(async (_body, delivery) => void told.push(delivery.traceparent))
  await say(kept)
  const processing = await one(processed)
  expect(notebook.find(published)?.trace.parentSpanId).toBe('b'.repeat(16))
  expect(told).toEqual([processing.trace.traceparent])
})

it('writes one span for each delivery that failed or was handled, and none for one that waits', async () => {
  const fates = [
    () => {
      throw new AppError('TOO_MANY_JOBS', { retryAfterMs: 1 })
    },
    () => {
      throw new AppError('STORE_UNAVAILABLE')
    },
    () => undefined,
  ]
  let deliveries = 0
  await read(async () => fates[deliveries++]?.())
  await say(kept)
  const spans = await written(processed, 2)
  expect(deliveries).toBe(3)
  expect(spans.map(({ attributes, isError }) => [attributes['avatar.delivery'], isError])).toEqual([
    [2, true],
    [3, false],
  ])
  expect(spans[0]?.attributes['error.type']).toBe('STORE_UNAVAILABLE')
})

it('names the job of a message that is sent in another trace, as a deletion is', async () => {
  const told: string[] = []
  await read(async (_body, delivery) => void told.push(delivery.traceparent))
  const deletion = rootTrace(true)
  await continueFrom(deletion.traceparent, {}, () => say(kept))
  const processing = await one(processed)
  expect(processing.trace.traceId).toBe(deletion.traceId)
  expect(told).toMatchObject([expect.stringContaining('a'.repeat(32))])
})

it('begins another trace where the reader wants one, with a link', async () => {
  const told: string[] = []
  await read(async (_body, delivery) => void told.push(delivery.traceparent), {
    traceDelivery: (traceparent = '') => ({
      ...{ trace: rootTrace(true), jobTrace: continueTrace(traceparent), links: [kept] },
    }),
  })
  await say(kept)
  const processing = await one(processed)
  expect(processing).toMatchObject({ links: [kept], trace: { parentSpanId: undefined } })
  expect(processing.trace.traceId).not.toBe('a'.repeat(32))
  expect(told).toMatchObject([expect.stringContaining('a'.repeat(32))])
})

it('leaves no span of what the broker had already', async () => {
  const on = `evt.job.completed.${crypto.randomUUID()}`
  const first = { traceparent: kept, lastSequence: 0 }
  expect(await world.bus.publish(on, {}, first)).toBe('stored')
  expect(await world.bus.publish(on, {}, first)).toBe('exists')
  expect(notebook.spans.map(({ name }) => name)).toEqual(['publish evt.job.completed.{job}'])
})

it('passes the headers of a trace that is not kept, and leaves no span of it', async () => {
  const told: string[] = []
  await read(async (_body, delivery) => void told.push(delivery.traceparent))
  await say(kept.replace(/01$/, '00'))
  await until(() => told.length === 1)
  expect(told).toMatchObject([expect.stringMatching(/^00-a{32}-[0-9a-f]{16}-00$/)])
  expect(notebook.spans).toEqual([])
})
