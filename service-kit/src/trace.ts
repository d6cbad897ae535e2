import { parseTraceParent } from '@opentelemetry/core'

/**
 * A step of a W3C trace. Whether the trace is kept was decided when it began and stands in the flags of
 * `traceparent`; everybody else obeys.
 */
export type Trace = {
  readonly traceId: string
  readonly spanId: string
  /** Undefined where the trace begins. */
  readonly parentSpanId: string | undefined
  readonly isSampled: boolean
  readonly traceparent: string
}

/** A step below the sender of a header, or the first of a trace that is not kept. */
export function continueTrace(traceparent: string | undefined): Trace {
  const parent = parsed(traceparent)
  return traceOf(parent?.traceId, parent?.spanId, parent?.isSampled ?? false)
}

/**
 * A step below a caller from outside, or a new trace. Its flag is ignored, else a caller could switch our
 * traces off, or on; its trace id is taken, and decides by chance.
 *
 * @param ratio the part of all traces that is kept, 0 to 1
 */
export function beginTrace(traceparent: string | undefined, ratio: number): Trace {
  const caller = parsed(traceparent)
  const traceId = caller?.traceId ?? newTraceId()
  return traceOf(traceId, caller?.spanId, isDrawn(traceId, ratio))
}

/** The first step of a new trace. */
export function rootTrace(isSampled: boolean): Trace {
  return traceOf(undefined, undefined, isSampled)
}

/** A step below another one, under an id that is known in advance or drawn now. */
export function childOf(parent: Trace, spanId?: string): Trace {
  return traceOf(parent.traceId, parent.spanId, parent.isSampled, spanId)
}

/** The step that a header names; undefined where it is malformed or all zeros. */
export function parseTrace(traceparent: string | undefined): Trace | undefined {
  const found = parsed(traceparent)
  return found && traceOf(found.traceId, undefined, found.isSampled, found.spanId)
}

function traceOf(
  traceId = newTraceId(),
  parentSpanId: string | undefined,
  isSampled: boolean,
  spanId = randomHex() + randomHex(),
): Trace {
  const traceparent = `00-${traceId}-${spanId}-${isSampled ? '01' : '00'}`
  return { traceId, spanId, parentSpanId, isSampled, traceparent }
}

function newTraceId(): string {
  return randomHex() + randomHex() + randomHex() + randomHex()
}

/** Eight digits. Ids need not be secret, and a job has dozens: the system's randomness costs more than a span. */
function randomHex(): string {
  return Math.floor(Math.random() * 2 ** 32)
    .toString(16)
    .padStart(8, '0')
}

function parsed(traceparent: string | undefined) {
  const found = traceparent === undefined ? null : parseTraceParent(traceparent)
  if (!found) return undefined
  const { traceId, spanId, traceFlags } = found
  return { traceId, spanId, isSampled: (traceFlags & 1) === 1 }
}

/** By the last 52 bits of the trace id, which are random by the standard. All services draw the same. */
function isDrawn(traceId: string, ratio: number): boolean {
  return Number.parseInt(traceId.slice(-13), 16) / 2 ** 52 < ratio
}
