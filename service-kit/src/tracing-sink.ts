import type { SpanAttributeName, SpanName } from '@avatar/contracts'
import type { Trace } from './trace.ts'

export type SpanKind = 'internal' | 'server' | 'client' | 'producer' | 'consumer'
export type SpanAttributes = {
  readonly [Name in SpanAttributeName]?: string | number | boolean | undefined
}

/** A span that has ended. */
export type FinishedSpan = {
  readonly name: SpanName
  readonly kind: SpanKind
  readonly trace: Trace
  readonly fromMs: number
  readonly toMs: number
  readonly attributes: SpanAttributes
  readonly isError: boolean
  /** Each a `traceparent`. */
  readonly links: readonly string[]
}

/** Takes ended spans without waiting and without failing, and is stopped within a bounded time. */
export type SpanSink = { write(span: FinishedSpan): void; stop(): Promise<void> }
