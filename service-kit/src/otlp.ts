import { spanLimits } from '@avatar/contracts'
import { scrubSecrets } from './scrub.ts'
import { parseTrace } from './trace.ts'
import type { FinishedSpan, SpanAttributes } from './tracing-sink.ts'

const kinds = { internal: 1, server: 2, client: 3, producer: 4, consumer: 5 } as const
const failed = { code: 2 }

/** An attribute as OTLP/JSON has it. */
type Pair = { key: string; value: Record<string, string | number | boolean> }

/**
 * Finished spans as OTLP/JSON. It is written here, because OpenTelemetry's SDK and exporter take more
 * processor time and 20 MB: they are made for spans that live, and encode by way of two more forms.
 */
export function encodeSpans(service: string, spans: readonly FinishedSpan[]): string {
  const texts: string[] = []
  const encoded = spans.map((span) => encodeSpan(span, texts))
  clean(encoded, texts)
  return JSON.stringify({
    resourceSpans: [
      {
        resource: { attributes: [{ key: 'service.name', value: { stringValue: service } }] },
        scopeSpans: [{ scope: { name: 'avatar' }, spans: encoded }],
      },
    ],
  })
}

function encodeSpan(span: FinishedSpan, texts: string[]) {
  const { trace, name, kind, fromMs, toMs, links, isError } = span
  const { pairs, dropped } = encodeAttributes(span.attributes, texts)
  return {
    traceId: trace.traceId,
    spanId: trace.spanId,
    // What is undefined is left out.
    parentSpanId: trace.parentSpanId,
    name,
    kind: kinds[kind],
    startTimeUnixNano: nanosOf(fromMs),
    endTimeUnixNano: nanosOf(toMs),
    attributes: pairs,
    droppedAttributesCount: dropped === 0 ? undefined : dropped,
    links: links.length === 0 ? undefined : links.flatMap(linkTo),
    status: isError ? failed : undefined,
  }
}

/** As many attributes as a span may have. */
function encodeAttributes(attributes: SpanAttributes, texts: string[]) {
  const pairs: Pair[] = []
  let dropped = 0
  for (const key in attributes) {
    const value = attributes[key as keyof SpanAttributes]
    if (value === undefined) continue
    if (pairs.length === spanLimits.attributesPerSpan) dropped++
    else if (typeof value === 'string') {
      texts.push(value)
      pairs.push({ key, value: { stringValue: value } })
    } else if (typeof value === 'boolean') pairs.push({ key, value: { boolValue: value } })
    else pairs.push({ key, value: numberValue(value) })
  }
  return { pairs, dropped }
}

/** OTLP writes whole numbers as text, because JSON's are floats; and those are never infinite. */
function numberValue(value: number): Pair['value'] {
  if (Number.isSafeInteger(value)) return { intValue: String(value) }
  return { doubleValue: Number.isFinite(value) ? value : String(value) }
}

/**
 * The last line of defence, as for logs: no secret may leave with a span. The values of a whole batch are
 * looked through at once, because almost never is there anything to find. Values are cut afterwards: half
 * a secret would not be recognised.
 */
function clean(spans: readonly { attributes: Pair[] }[], texts: readonly string[]): void {
  const text = texts.join('\n')
  const hasSecret = scrubSecrets(text) !== text
  const most = spanLimits.charactersPerValue
  if (!hasSecret && texts.every(({ length }) => length <= most)) return
  for (const { attributes } of spans)
    for (const { value } of attributes) {
      const { stringValue: given } = value
      if (typeof given !== 'string') continue
      value['stringValue'] = (hasSecret ? scrubSecrets(given) : given).slice(0, most)
    }
}

function linkTo(traceparent: string) {
  const trace = parseTrace(traceparent)
  return trace ? [{ traceId: trace.traceId, spanId: trace.spanId }] : []
}

/** A time in ms has no more than a fraction of a microsecond, today. */
function nanosOf(ms: number): string {
  return `${Math.round(ms * 1_000)}000`
}
