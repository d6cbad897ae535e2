import { systemClock } from '../src/clock.ts'
import { useSpanSink } from '../src/tracing.ts'
import type { FinishedSpan } from '../src/tracing-sink.ts'

/** Switches tracing on in this process and keeps the spans, until it is stopped. */
export function openSpanNotebook() {
  const spans: FinishedSpan[] = []
  const { stop } = useSpanSink(
    { write: (span) => void spans.push(span), stop: async () => undefined },
    systemClock,
  )
  return {
    spans,
    /** The newest span of a name. */
    find: (name: string) => spans.findLast((span) => span.name === name),
    stop,
  }
}
