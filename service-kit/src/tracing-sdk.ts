import { spanLimits } from '@avatar/contracts'
import {
  DiagLogLevel,
  diag,
  type Link,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
} from '@opentelemetry/api'
import { millisToHrTime } from '@opentelemetry/core'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { type Resource, resourceFromAttributes } from '@opentelemetry/resources'
import { BatchSpanProcessor, type ReadableSpan, type SpanExporter } from '@opentelemetry/sdk-trace'
import { type Clock, inTime } from './clock.ts'
import type { Collector } from './collector.ts'
import type { Log } from './log.ts'
import { scrubSecrets } from './scrub.ts'
import { parseTrace } from './trace.ts'
import type { FinishedSpan, SpanAttributes, SpanSink } from './tracing-sink.ts'

/** Loaded by `startTracing` alone, and only when there is a collector: it costs 26 MB and 0.2 s. */

const queueMaxSpans = 2_048
const batchMaxSpans = 512
const batchEveryMs = 1_000
const exportWithinMs = 2_000
const stopWithinMs = 2_000
/** A collector that is away is told once, and then again at this distance. */
const sayAgainMs = 60_000

const kinds = {
  internal: SpanKind.INTERNAL,
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
} as const

type SinkOptions = {
  service: string
  collector: Collector
  clock: Clock
  log: Log
  countDropped: (spans: number) => void
}

/**
 * Exports spans to a collector as OTLP/JSON, in batches, by the OpenTelemetry SDK. What the collector does
 * not take in time is dropped and counted: nothing waits for it.
 *
 * Spans are over when they come here, so they skip the SDK's tracer: to begin and end each of them anew
 * costs more than all that follows.
 */
export function createSpanSink(options: SinkOptions): SpanSink {
  const { service, log, clock, countDropped } = options
  // Global, and without it the SDK says nothing at all. Nobody has to act on what it says.
  const say = (text: string, ...more: unknown[]) =>
    log.debug({ logger: 'OpenTelemetry', text: [text, ...more].join(' ') }, 'a library said')
  diag.setLogger(
    { error: say, warn: say, info: say, debug: say, verbose: say },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  )
  const exporter = countingExporter(options)
  const processor = new BatchSpanProcessor({
    exporter: exporter.exporter,
    maxQueueSize: queueMaxSpans,
    maxExportBatchSize: batchMaxSpans,
    scheduledDelayMillis: batchEveryMs,
    exportTimeoutMillis: exportWithinMs,
  })
  const resource = resourceFromAttributes({ 'service.name': service })

  return {
    write(finished) {
      // The SDK would drop it as well, but could not tell us.
      if (exporter.waiting() >= queueMaxSpans) return countDropped(1)
      try {
        processor.onEnd(readable(finished, resource))
        exporter.add()
      } catch (error) {
        countDropped(1) // Whatever is wrong with a span, its work goes on.
        log.debug({ err: error, reason: finished.name }, 'span dropped')
      }
    },
    async stop() {
      const stopped = processor
        .shutdown()
        .catch((error) => log.debug({ err: error }, 'the last spans were not exported'))
      const outcome = await inTime(clock, stopWithinMs, stopped)
      if (outcome === 'late') log.debug('the collector did not take the last spans in time')
    },
  }
}

const scope = { name: 'avatar' }
const fine = { code: SpanStatusCode.UNSET }
const failed = { code: SpanStatusCode.ERROR }

/** What the SDK exports, of a span with ids and times of its own. */
function readable(finished: FinishedSpan, resource: Resource): ReadableSpan {
  const { name, kind, fromMs, toMs, isError, trace } = finished
  const { traceId, spanId, parentSpanId } = trace
  const context = { traceId, spanId, traceFlags: TraceFlags.SAMPLED }
  const { kept, dropped } = limited(finished.attributes)
  return {
    ...{ name, kind: kinds[kind], spanContext: () => context },
    ...(parentSpanId === undefined ? {} : { parentSpanContext: remote(traceId, parentSpanId) }),
    startTime: millisToHrTime(fromMs),
    endTime: millisToHrTime(toMs),
    duration: millisToHrTime(Math.max(0, toMs - fromMs)),
    ...{ ended: true, status: isError ? failed : fine, attributes: kept },
    ...{ links: finished.links.flatMap(linkTo), events: [], resource, instrumentationScope: scope },
    ...{ droppedAttributesCount: dropped, droppedEventsCount: 0, droppedLinksCount: 0 },
  }
}

/** Counts what waits for the exporter and what it loses, and says once that the collector is away. */
function countingExporter({ collector, clock, log, countDropped }: SinkOptions) {
  const otlp = new OTLPTraceExporter({ ...collector, timeoutMillis: exportWithinMs })
  let waiting = 0
  let quietUntilMs = -Infinity
  const exporter: SpanExporter = {
    export(spans, done) {
      waiting -= spans.length
      clean(spans)
      otlp.export(spans, (result) => {
        if (result.error || result.code !== 0) {
          countDropped(spans.length)
          const nowMs = clock.monotonicMs()
          const level = nowMs >= quietUntilMs ? 'warn' : 'debug'
          if (level === 'warn') quietUntilMs = nowMs + sayAgainMs
          log[level]({ count: spans.length, err: result.error }, 'spans dropped: not exported')
        }
        done(result)
      })
    },
    shutdown: () => otlp.shutdown(),
  }
  return { exporter, waiting: () => waiting, add: () => void waiting++ }
}

function linkTo(traceparent: string): Link[] {
  const found = parseTrace(traceparent)
  return found ? [{ context: remote(found.traceId, found.spanId) }] : []
}

function remote(traceId: string, spanId: string) {
  return { traceId, spanId, traceFlags: TraceFlags.SAMPLED, isRemote: true }
}

type Kept = Record<string, string | number | boolean>

/** As many attributes as a span may have. */
function limited(attributes: SpanAttributes): { kept: Kept; dropped: number } {
  const given = Object.entries(attributes).filter(([, value]) => value !== undefined)
  const pairs = given.slice(0, spanLimits.attributesPerSpan) as [string, Kept[string]][] // By the filter.
  return { kept: Object.fromEntries(pairs), dropped: given.length - pairs.length }
}

/**
 * The last line of defence, as for logs: no secret may leave with a span. The values of a whole batch are
 * looked through at once, because almost never is there anything to find. Values are cut afterwards: half
 * a secret would not be recognised.
 */
function clean(spans: readonly ReadableSpan[]): void {
  const texts: string[] = []
  for (const { attributes } of spans)
    for (const value of Object.values(attributes)) if (typeof value === 'string') texts.push(value)
  const text = texts.join('\n')
  const hasSecret = scrubSecrets(text) !== text
  const most = spanLimits.charactersPerValue
  if (!hasSecret && texts.every(({ length }) => length <= most)) return
  for (const { attributes } of spans)
    for (const [name, value] of Object.entries(attributes))
      if (typeof value === 'string')
        attributes[name] = (hasSecret ? scrubSecrets(value) : value).slice(0, most)
}
