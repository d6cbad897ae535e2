import {
  consumers,
  deletionDueSchema,
  isTerminal,
  jobKey,
  jobPrefix,
  scaledTimings,
} from '@avatar/contracts'
import { deletedEvent, factOf, openJobRecords, publishEvent } from '@avatar/job-kit'
import {
  AppError,
  type Bus,
  consumerLoop,
  createBrokerClock,
  createLog,
  createMetrics,
  loadConfig,
} from '@avatar/service-kit'
import { buildOrchestrator } from '../../src/build-orchestrator.ts'
import { orchestratorConfigSchema } from '../../src/config.ts'
import type { LifeChecks } from './check-life.ts'
import type { SimulatedStore } from './simulated-store.ts'
import type { SimulatedProcess } from './simulated-time.ts'

/** What a simulated process has around it. */
export type Around = { process: SimulatedProcess; bus: Bus; store: SimulatedStore }

export const timings = scaledTimings(1)
export const log = createLog('simulation', 'silent')
export const retentionMs = 60_000
/** How often uploads are looked for that came after the end of their job. */
export const sweepEveryMs = 30_000

const environment = {
  NATS_URL: 'nats://broker.example',
  NATS_USER: 'orchestrator',
  NATS_PASSWORD: 'x',
  S3_ENDPOINT: 'http://store.example',
  R2_ACCESS_KEY_ID: 'x',
  R2_SECRET_ACCESS_KEY: 'x',
  R2_BUCKET_NAME: 'media',
  METRICS_PORT: '0',
  VIDEO_RETENTION_HOURS: String(retentionMs / 3_600_000),
}
const scaled = {
  SCALE_PROVIDER: 'kubernetes',
  SCALE_POOL: 'elastic',
  SCALE_MAX_WORKERS: '2',
  SCALE_TARGET_WAIT_SECONDS: '10',
  SCALE_IDLE_SECONDS: '20',
}

/** The real orchestrator, all of it. @throws AppError while the broker is away */
export async function startOrchestrator({
  process,
  bus,
  store,
  isScaled,
}: Around & { isScaled: boolean }): Promise<void> {
  const metrics = createMetrics('orchestrator')
  const env = { ...environment, ...(isScaled ? scaled : {}) }
  const config = loadConfig(orchestratorConfigSchema, env)
  const clock = createBrokerClock({ bus, clock: process.clock, log })
  await clock.start()
  const foundation = { config, log, bus, metrics, clock, agreement: clock, timings }
  const parts = await buildOrchestrator(foundation, {}, store.seenBy(process))
  for (const part of parts.start) await part.start()
}

/** What the janitor does when a job's time is over, and about uploads that came too late. */
export async function startJanitor({
  process,
  bus,
  store,
  checks,
}: Around & { checks: LifeChecks }): Promise<void> {
  const records = await openJobRecords(bus)
  const loop = consumerLoop({
    ...{ bus, clock: process.clock, log, timings, concurrency: 4, schema: deletionDueSchema },
    spec: consumers(timings).janitor,
    metrics: createMetrics('janitor'),
    handle: async ({ jobId, owner }, delivery) => {
      const found = await records.find(jobKey(owner, jobId))
      if (!found) return
      const job = found.value
      if (!isTerminal(job)) return checks.complain(`${jobId} is to be deleted and lives`)
      const leftMs = (job.expiresAtMs ?? 0) - process.clock.nowMs()
      if (leftMs > 0) return delivery.putBack(leftMs)
      if (store.isAway) throw new AppError('STORE_UNAVAILABLE')
      store.deleteAll(jobPrefix(jobId))
      const fact = factOf(job, found.revision, process.clock.nowMs())
      await publishEvent(bus, deletedEvent(fact, []), { traceparent: delivery.traceparent })
    },
  })
  await loop.start()
  for (;;) {
    await process.clock.wait(sweepEveryMs)
    if (store.isAway || process.isCut) continue
    for (const key of store.objects.keys()) {
      const job = checks.records.get(key.split('/')[1] ?? '')
      if (job?.deletedAtMs !== undefined) store.objects.delete(key)
    }
  }
}
