import { randomBytes } from 'node:crypto'
import { parseTraceParent } from '@opentelemetry/core'

/** A W3C trace context, from the HTTP request to the last frame. */
export type Trace = { readonly traceId: string; readonly traceparent: string }

/** Continues the trace of a header by a span of our own, or begins a trace where there is none. */
export function continueTrace(traceparent: string | undefined): Trace {
  const parent = traceparent === undefined ? null : parseTraceParent(traceparent)
  const traceId = parent?.traceId ?? randomBytes(16).toString('hex')
  const flags = ((parent?.traceFlags ?? 1) & 0xff).toString(16).padStart(2, '0')
  const spanId = randomBytes(8).toString('hex')
  return { traceId, traceparent: `00-${traceId}-${spanId}-${flags}` }
}
