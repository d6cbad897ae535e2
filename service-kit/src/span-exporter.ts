import { type Clock, inTime } from './clock.ts'
import type { Collector } from './collector.ts'
import { createCollectorClient } from './collector-client.ts'
import type { Log } from './log.ts'
import { encodeSpans } from './otlp.ts'
import type { FinishedSpan, SpanSink } from './tracing-sink.ts'

const queueMaxSpans = 2_048
const batchMaxSpans = 512
const batchEveryMs = 1_000
const stopWithinMs = 2_000
/** A collector that is away is told once, and then again at this distance. */
const sayAgainMs = 60_000

/**
 * Exports spans to a collector as OTLP/JSON, in batches, and one at a time until it is stopped. What the
 * collector does not take in time is dropped and counted: nothing waits for it.
 */
export function createSpanExporter(options: {
  service: string
  collector: Collector
  clock: Clock
  log: Log
  countDropped: (spans: number) => void
}): SpanSink {
  const { service, log, clock, countDropped } = options
  const client = createCollectorClient(options.collector)
  const waiting: FinishedSpan[] = []
  /** Until the next batch leaves, however small it is. */
  let timer: NodeJS.Timeout | undefined
  let exporting: Promise<void> | undefined
  let isStopped = false
  let stopping: Promise<void> | undefined
  let quietUntilMs = -Infinity

  async function exportBatch(spans: readonly FinishedSpan[]): Promise<void> {
    try {
      const status = await client.post(encodeSpans(service, spans))
      if (status < 200 || status > 299) throw new Error(`the collector answered ${status}`)
    } catch (error) {
      countDropped(spans.length)
      const nowMs = clock.monotonicMs()
      const level = nowMs >= quietUntilMs ? 'warn' : 'debug'
      if (level === 'warn') quietUntilMs = nowMs + sayAgainMs
      log[level]({ count: spans.length, err: error }, 'spans dropped: not exported')
    }
  }

  function exportNext() {
    clearTimeout(timer)
    timer = undefined
    exporting = exportBatch(waiting.splice(0, batchMaxSpans)).finally(() => {
      exporting = undefined
      schedule()
    })
  }

  function schedule() {
    if (exporting || isStopped || waiting.length === 0) return
    if (waiting.length >= batchMaxSpans) exportNext()
    else timer ??= setTimeout(exportNext, batchEveryMs)
  }

  async function exportLast(): Promise<void> {
    clearTimeout(timer)
    const last = [exporting]
    while (waiting.length > 0) last.push(exportBatch(waiting.splice(0, batchMaxSpans)))
    const outcome = await inTime(clock, stopWithinMs, Promise.all(last))
    if (outcome === 'late') log.debug('the collector did not take the last spans in time')
    client.stop()
  }

  return {
    write(span) {
      if (isStopped || waiting.length >= queueMaxSpans) return countDropped(1)
      waiting.push(span)
      schedule()
    },
    stop() {
      isStopped = true
      stopping ??= exportLast()
      return stopping
    },
  }
}
