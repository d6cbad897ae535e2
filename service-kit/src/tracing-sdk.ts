import { spanLimits } from '@avatar/contracts'
import {
  type Context,
  DiagLogLevel,
  diag,
  ROOT_CONTEXT,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  trace,
} from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { BatchSpanProcessor, type SpanExporter, TracerProvider } from '@opentelemetry/sdk-trace'
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
  const ids = fixedIds()
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ 'service.name': service }),
    idGenerator: ids.generator,
    spanLimits: {
      attributeCountLimit: spanLimits.attributesPerSpan,
      attributeValueLengthLimit: spanLimits.charactersPerValue,
    },
    spanProcessors: [
      new BatchSpanProcessor({
        exporter: exporter.exporter,
        maxQueueSize: queueMaxSpans,
        maxExportBatchSize: batchMaxSpans,
        scheduledDelayMillis: batchEveryMs,
        exportTimeoutMillis: exportWithinMs,
      }),
    ],
  })
  const tracer = provider.getTracer('avatar')

  function record(finished: FinishedSpan) {
    const { name, kind, fromMs: startTime, toMs, attributes, isError } = finished
    const links = finished.links.flatMap((link) => linkTo(link))
    const span = ids.withIds(finished, () =>
      tracer.startSpan(
        name,
        { kind: kinds[kind], startTime, links, attributes: scrubbed(attributes) },
        parentOf(finished),
      ),
    )
    if (isError) span.setStatus({ code: SpanStatusCode.ERROR })
    span.end(toMs)
  }

  return {
    write(finished) {
      // The SDK would drop it as well, but could not tell us.
      if (exporter.waiting() >= queueMaxSpans) return countDropped(1)
      try {
        record(finished)
        exporter.add()
      } catch (error) {
        countDropped(1) // Whatever is wrong with a span, its work goes on.
        log.debug({ err: error, reason: finished.name }, 'span dropped')
      }
    },
    async stop() {
      const stopped = provider
        .shutdown()
        .catch((error) => log.debug({ err: error }, 'the last spans were not exported'))
      const outcome = await inTime(clock, stopWithinMs, stopped)
      if (outcome === 'late') log.debug('the collector did not take the last spans in time')
    },
  }
}

/** Hands out the ids of the span that is about to start, which are known in advance. */
function fixedIds() {
  let next = { traceId: '', spanId: '' }
  return {
    generator: {
      generateTraceId: () => next.traceId,
      generateSpanId: () => next.spanId,
    },
    /** `start` is synchronous, so no other span can take the ids. */
    withIds<T>({ trace: { traceId, spanId } }: FinishedSpan, start: () => T): T {
      next = { traceId, spanId }
      return start()
    },
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

function parentOf({ trace: { traceId, parentSpanId } }: FinishedSpan): Context {
  if (parentSpanId === undefined) return ROOT_CONTEXT
  return trace.setSpanContext(ROOT_CONTEXT, remote(traceId, parentSpanId))
}

function linkTo(traceparent: string): { context: SpanContext }[] {
  const found = parseTrace(traceparent)
  return found ? [{ context: remote(found.traceId, found.spanId) }] : []
}

function remote(traceId: string, spanId: string): SpanContext {
  return { traceId, spanId, traceFlags: TraceFlags.SAMPLED, isRemote: true }
}

/**
 * The last line of defence, as for logs: no secret may leave with a span. All values are looked through at
 * once, because almost never is there anything to find.
 */
function scrubbed(attributes: SpanAttributes): Record<string, string | number | boolean> {
  const kept: Record<string, string | number | boolean> = {}
  let text = ''
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined) continue
    kept[name] = value
    if (typeof value === 'string') text += `${value}\n`
  }
  if (scrubSecrets(text) === text) return kept
  for (const [name, value] of Object.entries(kept))
    if (typeof value === 'string') kept[name] = scrubSecrets(value)
  return kept
}
