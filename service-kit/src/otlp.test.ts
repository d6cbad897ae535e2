import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { spanLimits } from '@avatar/contracts'
import { SpanKind, SpanStatusCode, TraceFlags } from '@opentelemetry/api'
import { millisToHrTime } from '@opentelemetry/core'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import type { ReadableSpan } from '@opentelemetry/sdk-trace'
import { expect, it } from 'vitest'
import { encodeSpans } from './otlp.ts'
import { childOf, parseTrace, rootTrace } from './trace.ts'
import type { FinishedSpan, SpanAttributes } from './tracing-sink.ts'

const linked = `00-${'3'.repeat(32)}-${'4'.repeat(16)}-01`

function aSpan(difference: Partial<FinishedSpan> = {}): FinishedSpan {
  return {
    ...{ name: 'render', kind: 'client', trace: childOf(rootTrace(true)), isError: false },
    ...{ fromMs: 1_700_000_000_000.25, toMs: 1_700_000_000_250.5, attributes: {}, links: [] },
    ...difference,
  }
}

const encoded = (...spans: FinishedSpan[]) => JSON.parse(encodeSpans('test', spans))
const spansIn = (body: ReturnType<typeof encoded>) => body.resourceSpans[0].scopeSpans[0].spans
const attributesOf = (attributes: SpanAttributes) =>
  spansIn(encoded(aSpan({ attributes })))[0].attributes

it('says the same as the exporter of OpenTelemetry', async () => {
  const spans = [
    aSpan({ trace: rootTrace(true), kind: 'server', isError: true }),
    aSpan({
      kind: 'consumer',
      links: [linked],
      attributes: {
        'avatar.worker': 'a "quoted"\nname, ö',
        'avatar.attempt': 2,
        'avatar.cost_usd': 0.0012,
        'avatar.degraded': false,
        'avatar.state': undefined,
      },
    }),
    aSpan({ kind: 'producer', name: 'publish evt.job.queued.{job}' }),
  ]
  expect(encoded(...spans)).toEqual(withoutDefaults(await exportedByOpenTelemetry(spans)))
})

it('has no more attributes than a span may have, and counts the others', () => {
  const many = Array.from({ length: 70 }, (_, at) => [`avatar.${at}`, at])
  const [span] = spansIn(encoded(aSpan({ attributes: Object.fromEntries(many) })))
  expect(span.attributes).toHaveLength(spanLimits.attributesPerSpan)
  expect(span.droppedAttributesCount).toBe(70 - spanLimits.attributesPerSpan)
})

it('hides secrets before it cuts, in every span where one has any', () => {
  const fault = `${'x'.repeat(spanLimits.charactersPerValue - 10)} Bearer ${'s'.repeat(20)}`
  const spans = [aSpan({ attributes: { 'avatar.fault': fault } }), aSpan()]
  const [span] = spansIn(encoded(...spans, aSpan({ attributes: { 'avatar.state': 'queued' } })))
  const [{ value }] = span.attributes
  expect(value.stringValue).toHaveLength(spanLimits.charactersPerValue)
  expect(value.stringValue).not.toContain('sss')
  expect(attributesOf({ 'avatar.fault': `Bearer ${'s'.repeat(20)}` })).toEqual([
    { key: 'avatar.fault', value: { stringValue: 'Bearer [redacted]' } },
  ])
})

it('leaves out links that are none, and writes numbers that JSON has not', () => {
  expect(spansIn(encoded(aSpan({ links: ['nonsense'] })))[0].links).toEqual([])
  const values = [Number.NaN, -Infinity, 2 ** 60].map(
    (value) => attributesOf({ 'avatar.bytes': value })[0].value,
  )
  expect(values).toEqual([
    { doubleValue: 'NaN' },
    { doubleValue: '-Infinity' },
    { doubleValue: 2 ** 60 },
  ])
})

async function exportedByOpenTelemetry(spans: readonly FinishedSpan[]): Promise<unknown> {
  let body: unknown
  const server = createServer(async (request, response) => {
    body = await json(request)
    response.end('{}')
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as AddressInfo // It listens on a port.
  const exporter = new OTLPTraceExporter({ url: `http://127.0.0.1:${port}/v1/traces` })
  try {
    await new Promise((done) => exporter.export(spans.map(readable), done))
    return body
  } finally {
    await exporter.shutdown()
    server.closeAllConnections()
    server.close()
  }
}

const kinds = {
  internal: SpanKind.INTERNAL,
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
}
const resource = resourceFromAttributes({ 'service.name': 'test' })

function readable({ trace, ...span }: FinishedSpan): ReadableSpan {
  const context = (spanId: string, traceId = trace.traceId) => ({
    ...{ traceId, spanId, traceFlags: TraceFlags.SAMPLED },
  })
  const { parentSpanId } = trace
  return {
    ...{ name: span.name, kind: kinds[span.kind], spanContext: () => context(trace.spanId) },
    ...(parentSpanId ? { parentSpanContext: context(parentSpanId) } : {}),
    ...{ startTime: millisToHrTime(span.fromMs), endTime: millisToHrTime(span.toMs) },
    ...{ duration: [0, 0], ended: true, events: [], resource },
    status: { code: span.isError ? SpanStatusCode.ERROR : SpanStatusCode.UNSET },
    attributes: JSON.parse(JSON.stringify(span.attributes)),
    links: span.links.flatMap((link) => {
      const found = parseTrace(link)
      return found ? [{ context: context(found.spanId, found.traceId) }] : []
    }),
    instrumentationScope: { name: 'avatar' },
    ...{ droppedAttributesCount: 0, droppedEventsCount: 0, droppedLinksCount: 0 },
  }
}

/** What a reader takes for granted where it is left out, and whole numbers as OTLP/JSON has them. */
function withoutDefaults(given: unknown): unknown {
  if (Array.isArray(given)) return given.map(withoutDefaults)
  if (typeof given !== 'object' || given === null) return given
  const isDefault = (name: string, value: unknown) =>
    name === 'flags' ||
    value === 0 ||
    (name === 'status' && JSON.stringify(value) === '{"code":0}') ||
    (['events', 'links'].includes(name) && Array.isArray(value) && value.length === 0) ||
    // Of the resource, the scope and links: there are none.
    (name === 'attributes' && Array.isArray(value) && value.length === 0 && !('kind' in given))
  return Object.fromEntries(
    Object.entries(given)
      .filter(([name, value]) => !isDefault(name, value))
      .map(([name, value]) => [name, name === 'intValue' ? String(value) : withoutDefaults(value)]),
  )
}
