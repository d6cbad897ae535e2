/**
 * A process that writes spans as two services do, of whatever checkout it is told:
 *
 *   node one-process.ts CHECKOUT [COLLECTOR]
 *
 * It does what it is asked for over its channel and answers with the processor time that this took.
 */
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Bus, BusMessage, Runnable } from '../../service-kit/src/index.ts'
import { type Kit, saidByWorker, spansOfIngest, spansOfOrchestrator } from './spans-of-a-job.ts'

/** What it is asked for: so many jobs, one every so many milliseconds, or as fast as it can. */
export type Turn = { jobs: number; everyMs: number }
export type Answer = { processorMs: number; residentMb: number }

const [checkout = '', endpoint] = process.argv.slice(2)
const kit: Kit = await import(join(checkout, 'service-kit/src/index.ts'))
const { createSpanRelay } = await import(join(checkout, 'orchestrator/src/relay-spans.ts'))

const log = kit.createLog('bench', 'warn', { destination: { write: () => undefined } })
const clock = kit.systemClock
const collector = kit.collectorOf({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint })
let dropped = 0
const countDropped = (spans: number) => {
  dropped += spans
}
await kit.startTracing({ service: 'bench', clock, log, collector, countDropped })
let take: (message: BusMessage) => void = () => undefined
const bus = {
  subscribe(_: string, handle: typeof take) {
    take = handle
    return { stop: () => undefined }
  },
} as unknown as Bus // All that the relay asks of it.
const metrics = { countDroppedSpans: countDropped }
const relay: Runnable[] = createSpanRelay({ bus, clock, log, metrics, collector })
for (const part of relay) await part.start()

async function job() {
  const jobId = randomUUID()
  const traceparent = await spansOfIngest(kit, jobId)
  await spansOfOrchestrator(kit, jobId, traceparent)
  if (!collector) return
  const bytes = saidByWorker(jobId)
  take({ subject: 'telemetry.spans.w1', bytes: () => bytes } as unknown as BusMessage) // All it reads.
}

async function run({ jobs, everyMs }: Turn): Promise<Answer> {
  const before = process.cpuUsage()
  for (let left = jobs; left > 0; left--) {
    await job()
    if (everyMs > 0) await pause(everyMs)
    // The exporter's queue is as long as it is: at full speed it has to be given the time to empty it.
    else if (left % 50 === 0) await pause(50)
  }
  // The last batch belongs to these jobs.
  await pause(1_600)
  const { user, system } = process.cpuUsage(before)
  if (dropped > 0) throw new Error(`${dropped} spans were dropped: this is not what they cost`)
  return {
    processorMs: (user + system) / 1_000,
    residentMb: process.memoryUsage.rss() / 1024 / 1024,
  }
}

process.on('message', (turn: Turn) => {
  void run(turn).then(
    (answer) => process.send?.(answer),
    (error) => {
      console.error(error)
      process.exit(1)
    },
  )
})
process.on('disconnect', () => process.exit(0))
process.send?.('ready')
