import { execFile } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { afterEach, describe, expect, it } from 'vitest'
import {
  collectorOf,
  createLog,
  Secret,
  startTracing,
  systemClock,
  writeSpan,
} from '../src/index.ts'
import { until } from '../testing/index.ts'

const traceId = '1'.repeat(32)
const parent = `00-${traceId}-${'2'.repeat(16)}-01`

type Exported = {
  resourceSpans: {
    resource: { attributes: unknown[] }
    scopeSpans: { spans: Record<string, unknown>[] }[]
  }[]
}

const stops: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

async function collector(answer: number | 'never') {
  const bodies: Exported[] = []
  const tokens = new Set<unknown>()
  const server = createServer(async (request, response) => {
    tokens.add(request.headers['x-token'])
    bodies.push((await json(request)) as Exported)
    if (answer !== 'never') response.writeHead(answer).end('{}')
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  stops.push(async () => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo // It listens on a port.
  const spans = () => bodies.flatMap(({ resourceSpans }) => resourceSpans[0]?.scopeSpans[0]?.spans)
  return { endpoint: `http://127.0.0.1:${port}/`, bodies, tokens, spans }
}

async function tracing(endpoint: string) {
  const lines: string[] = []
  let dropped = 0
  const log = createLog('test', 'debug', { destination: { write: (line) => lines.push(line) } })
  const started = await startTracing({
    ...{ service: 'test', clock: systemClock, log },
    collector: collectorOf({
      OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
      OTEL_EXPORTER_OTLP_HEADERS: new Secret('x-token=sesame'),
    }),
    countDropped: (spans) => {
      dropped += spans
    },
  })
  let stopping: Promise<void> | undefined
  const stop = () => {
    stopping ??= started.stop()
    return stopping
  }
  stops.unshift(stop)
  return { stop, dropped: () => dropped, levels: () => lines.map((line) => JSON.parse(line).level) }
}

const write = (attributes: Record<string, string> = {}) =>
  writeSpan({
    ...{ name: 'job', id: 'a'.repeat(16), parent, kind: 'client', isError: true },
    ...{ fromMs: 1_700_000_000_000, toMs: 1_700_000_000_250, attributes },
  })

describe('with a collector', () => {
  it('exports spans under their own ids, cut, without secrets and without events', async () => {
    const { endpoint, bodies, tokens, spans } = await collector(200)
    await tracing(endpoint)
    const secret = `Bearer ${'s'.repeat(20)}`
    write({ 'avatar.fault': secret, 'avatar.state': 'x'.repeat(600), 'avatar.code': 'OK' })
    await until(() => bodies.length > 0)
    expect([...tokens]).toEqual(['sesame'])
    expect(bodies[0]?.resourceSpans[0]?.resource.attributes).toEqual([
      { key: 'service.name', value: { stringValue: 'test' } },
    ])
    expect(spans()).toMatchObject([
      {
        ...{ traceId, spanId: 'a'.repeat(16), parentSpanId: '2'.repeat(16), name: 'job', kind: 3 },
        startTimeUnixNano: '1700000000000000000',
        endTimeUnixNano: '1700000000250000000',
        attributes: [
          { key: 'avatar.fault', value: { stringValue: 'Bearer [redacted]' } },
          { key: 'avatar.state', value: { stringValue: 'x'.repeat(512) } },
          { key: 'avatar.code', value: { stringValue: 'OK' } },
        ],
        status: { code: 2 },
      },
    ])
    expect(spans()[0]?.['events'] ?? []).toEqual([])
  })

  it('exports the last spans when it stops', async () => {
    const { endpoint, spans } = await collector(200)
    const { stop, dropped } = await tracing(endpoint)
    for (let left = 600; left > 0; left--) write()
    await stop()
    expect(spans()).toHaveLength(600)
    expect(dropped()).toBe(0)
  })

  it('drops and counts what does not fit, and stops in time, when the collector never answers', async () => {
    const { endpoint, bodies } = await collector('never')
    const { stop, dropped, levels } = await tracing(endpoint)
    write()
    await until(() => bodies.length > 0)
    for (let left = 2_048 + 512 + 100; left > 0; left--) write()
    expect(dropped()).toBeGreaterThanOrEqual(100)
    const beganMs = performance.now()
    await stop()
    expect(performance.now() - beganMs).toBeLessThan(10_000)
    for (const level of levels()) expect(['debug', 'warn']).toContain(level)
  })

  it('says once that the collector refuses, and goes on', async () => {
    const { endpoint, bodies } = await collector(400)
    const { stop, dropped, levels } = await tracing(endpoint)
    write()
    await until(() => dropped() === 1)
    write()
    await until(() => dropped() === 2)
    await stop()
    expect(bodies).toHaveLength(2)
    expect(levels().filter((level) => level !== 'debug')).toEqual(['warn'])
  })
})

describe('of the SDK of traces', () => {
  it('nothing is loaded, with a collector or without, and nothing is sent without', async () => {
    const script = `
      import { registerHooks } from 'node:module'
      const loaded = []
      registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) })
      const { collectorOf, startTracing, systemClock, withSpan, writeSpan } = await import('@avatar/service-kit')
      const options = { service: 'test', clock: systemClock, countDropped() {} }
      const startWith = (endpoint) =>
        startTracing({ ...options, collector: collectorOf({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }) })
      const write = () => writeSpan({ name: 'job', parent: '${parent}', fromMs: 1, toMs: 2 })
      const off = await startWith(undefined)
      await withSpan('job', {}, async () => write())
      await off.stop()
      if (process.argv[1]) {
        const on = await startWith(process.argv[1])
        write()
        await on.stop()
      }
      console.log(JSON.stringify(loaded.filter((url) => url.includes('/node_modules/@opentelemetry/'))))
      process.exit(0)`
    const cwd = join(import.meta.dirname, '..')
    const { endpoint, bodies } = await collector(200)
    for (const argument of [[], [endpoint]]) {
      const words = ['--input-type=module', '-e', script, ...argument]
      const { stdout } = await promisify(execFile)(process.execPath, words, { cwd })
      const loaded = JSON.parse(stdout) as string[]
      expect(loaded.length, 'metrics need some of it').toBeGreaterThan(5)
      expect(loaded.filter((url) => /sdk-(trace|node)|exporter-trace|otlp/.test(url))).toEqual([])
      expect(bodies).toHaveLength(argument.length)
    }
  })
})
