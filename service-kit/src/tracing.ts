import { AsyncLocalStorage } from 'node:async_hooks'
import { type SpanName, spanAttributes } from '@avatar/contracts'
import type { Clock } from './clock.ts'
import type { Collector } from './collector.ts'
import { asAppError } from './errors.ts'
import type { Log } from './log.ts'
import { createSpanExporter } from './span-exporter.ts'
import { childOf, parseTrace, type Trace } from './trace.ts'
import type { SpanAttributes, SpanKind, SpanSink } from './tracing-sink.ts'

/**
 * The only door to traces. Spans are written only where there is a collector; without one, and for traces that
 * are not kept, work runs as if this were not here.
 */

/** A span that has begun. */
export type OpenSpan = {
  /** Runs work whose spans and messages belong below this span. */
  run<T>(work: () => T): T
  set(attributes: SpanAttributes): void
  /** Links it to another span, by its `traceparent`. */
  link(traceparent: string): void
  /** Marks it as failed, by the code of the failure. */
  fail(error: unknown): void
  /** Writes it. A span that never ends is never seen. */
  end(): void
}

export type SpanOptions = {
  /** Its own place in the trace. */
  trace: Trace
  kind?: SpanKind
  attributes?: SpanAttributes
  links?: readonly string[]
  /** How long ago it began. */
  agoMs?: number
}

/** What is active: where spans hang, and what they inherit. */
type Active = { readonly trace: Trace; attributes: SpanAttributes }

const active = new AsyncLocalStorage<Active>()
let sink: SpanSink | undefined
let clock: Pick<Clock, 'nowMs'> = { nowMs: Date.now }

/** Whether spans are written at all. */
export function isTracing(): boolean {
  return sink !== undefined
}

/**
 * Begins to write spans if there is a collector.
 *
 * @returns how to stop it: within 2 s, whatever the collector does, and never with an error
 */
export async function startTracing(options: {
  service: string
  /** Without one nothing is loaded. */
  collector: Collector | undefined
  clock: Clock
  log: Log
  countDropped: (spans: number) => void
}): Promise<{ stop(): Promise<void> }> {
  const { collector, ...rest } = options
  if (!collector) return { stop: async () => undefined }
  return useSpanSink(createSpanExporter({ ...rest, collector }), options.clock)
}

/** Begins to write spans into a sink. */
export function useSpanSink(to: SpanSink, timeOf: Pick<Clock, 'nowMs'>): { stop(): Promise<void> } {
  sink = to
  clock = timeOf
  return {
    async stop() {
      if (sink === to) sink = undefined
      await to.stop()
    },
  }
}

const notTraced: OpenSpan = {
  run: (work) => work(),
  set: () => undefined,
  link: () => undefined,
  fail: () => undefined,
  end: () => undefined,
}

/** Begins a span. Of a trace that is not kept, or with tracing off, it is none. */
export function openSpan(name: SpanName, options: SpanOptions): OpenSpan {
  const { trace, kind = 'internal', agoMs = 0 } = options
  if (!sink || !trace.isSampled) return notTraced
  const outer = active.getStore()
  const own: Active = { trace, attributes: options.attributes ?? {} }
  const fromMs = clock.nowMs() - agoMs
  const beganMs = performance.now() - agoMs
  const links = [...(options.links ?? [])]
  let isError = false
  return {
    run: (work) => active.run(own, work),
    set(attributes) {
      own.attributes = { ...own.attributes, ...attributes }
    },
    link: (traceparent) => void links.push(traceparent),
    fail(error) {
      isError = true
      own.attributes = {
        ...own.attributes,
        [spanAttributes.errorType]: asAppError(error).code,
      }
    },
    end() {
      const toMs = fromMs + performance.now() - beganMs
      const attributes = { ...inherited(outer), ...own.attributes }
      sink?.write({ ...{ name, kind, trace, fromMs, toMs, attributes, isError, links } })
    },
  }
}

/** Every span can be found by its job. */
function inherited(outer: Active | undefined): SpanAttributes {
  const { jobId, attempt } = spanAttributes
  return { [jobId]: outer?.attributes[jobId], [attempt]: outer?.attributes[attempt] }
}

/** Does work in a span below the active one. The span fails if the work does. */
export async function withSpan<T>(
  name: SpanName,
  attributes: SpanAttributes,
  work: () => Promise<T>,
  kind: SpanKind = 'internal',
): Promise<T> {
  const parent = active.getStore()
  if (!parent) return work()
  const span = openSpan(name, { trace: childOf(parent.trace), kind, attributes })
  try {
    return await span.run(work)
  } catch (error) {
    span.fail(error)
    throw error
  } finally {
    span.end()
  }
}

/** Does work whose spans belong below a span of another process, or one that is not written yet. */
export function continueFrom<T>(
  traceparent: string | undefined,
  attributes: SpanAttributes,
  work: () => T,
): T {
  const trace = parseTrace(traceparent)
  return sink && trace?.isSampled ? active.run({ trace, attributes }, work) : work()
}

/** Does work that belongs to no span, such as what a loop does for whoever comes next. */
export function outsideSpans<T>(work: () => T): T {
  return active.getStore() ? active.exit(work) : work()
}

/** Adds to the active span what only its work knows. Later spans below it inherit the job and the attempt. */
export function describeSpan(attributes: SpanAttributes): void {
  const span = active.getStore()
  if (span) span.attributes = { ...span.attributes, ...attributes }
}

/** The place of the active span in its trace; undefined outside of one. */
export function activeTrace(): Trace | undefined {
  return active.getStore()?.trace
}

/** What `writeSpan` writes. */
export type WrittenSpan = {
  name: SpanName
  /** Where the span itself is known by; drawn if left out. */
  id?: string
  /** The `traceparent` of the span above it. */
  parent: string
  fromMs: number
  toMs: number
  kind?: SpanKind
  attributes?: SpanAttributes
  isError?: boolean
}

/** Writes a span of what is over already. */
export function writeSpan(span: WrittenSpan): void {
  const parent = parseTrace(span.parent)
  if (!sink || !parent?.isSampled) return
  const { name, kind = 'internal', fromMs, toMs, attributes = {}, isError = false } = span
  const trace = childOf(parent, span.id)
  sink.write({ name, kind, trace, fromMs, toMs, attributes, isError, links: [] })
}
