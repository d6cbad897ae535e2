import { hash } from 'node:crypto'
import { childOf, continueTrace, parseTrace } from './trace.ts'

/** What the known spans of a job follow from. */
type TracedJob = { readonly jobId: string; readonly traceparent: string }

/**
 * The span ids that are known in advance: 16 hex digits of SHA-256 of `<jobId>` for the span `job`, and of
 * `<jobId>:<epoch>` for `attempt`. The worker computes the same, so its spans hang below an attempt that
 * nobody has written yet, and a span that is written twice after a crash is the same span.
 */
export function spanIdOf(jobId: string, ...parts: readonly (string | number)[]): string {
  return hash('sha256', [jobId, ...parts].join(':')).slice(0, 16)
}

/** The `traceparent` of what hangs below the span `job`. */
export function jobTraceparent({ jobId, traceparent }: TracedJob): string {
  return below(traceparent, spanIdOf(jobId))
}

/** The `traceparent` of what hangs below the span `attempt` of an epoch. */
export function attemptTraceparent({
  jobId,
  epoch,
  traceparent,
}: TracedJob & { readonly epoch: number }): string {
  return below(traceparent, spanIdOf(jobId, epoch))
}

function below(traceparent: string, spanId: string): string {
  return childOf(parseTrace(traceparent) ?? continueTrace(undefined), spanId).traceparent
}
