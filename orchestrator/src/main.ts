import { buckets, inboxPrefix, jobRecordSchema, scaledTimings } from '@avatar/contracts'
import {
  ConfigError,
  connectBus,
  createAdminServer,
  createLog,
  createMetrics,
  createObjectStore,
  loadConfig,
  openRecordStore,
  s3Endpoint,
  stopInPhases,
  stopSignal,
  systemClock,
} from '@avatar/service-kit'
import { orchestratorConfigSchema } from './config.ts'
import { createJobLedger } from './job-ledger.ts'
import { createLiveJobs } from './live-jobs.ts'
import { createPublishOutputs } from './publish-outputs.ts'
import { reconciler } from './reconcile.ts'
import { subscriptions } from './subscriptions.ts'
import { watchWorkers } from './watch-workers.ts'

const clock = systemClock

try {
  await main()
} catch (error) {
  if (!(error instanceof ConfigError)) throw error
  process.stderr.write(`The configuration is not valid:\n${error.message}\n`)
  process.exitCode = 2
}

/** Config → connections → services → start; nothing else. */
async function main() {
  const config = loadConfig(orchestratorConfigSchema, process.env)
  const log = createLog('orchestrator', config.LOG_LEVEL)
  log.info({ config }, 'starting')
  const stopped = stopSignal()
  const timings = scaledTimings(config.TIMINGS_DIVISOR)
  const metrics = createMetrics('orchestrator')

  const bus = await connectBus({
    url: config.NATS_URL,
    user: config.NATS_USER,
    password: config.NATS_PASSWORD.reveal(),
    inboxPrefix: inboxPrefix(config.NATS_USER),
    log,
    clock,
  })
  void bus.closed().then(() => process.exit(1))
  const objects = createObjectStore({
    endpoint: s3Endpoint(config),
    bucket: config.R2_BUCKET_NAME,
    accessKeyId: config.R2_ACCESS_KEY_ID,
    secretAccessKey: config.R2_SECRET_ACCESS_KEY.reveal(),
    clock,
  })
  const records = await openRecordStore(bus, buckets.job, jobRecordSchema)

  const transitions = metrics.meter.createCounter('infinitetalk_job_transitions_total', {
    description: 'Changes of job state, by the state reached',
  })
  const ledger = createJobLedger({
    records,
    clock,
    rules: {
      retentionMs: config.VIDEO_RETENTION_HOURS * 3_600_000,
      minDeadlineSeconds: config.RENDER_DEADLINE_MIN_SECONDS,
      timings,
    },
    onTransition: (from, to) => {
      if (from.state !== to.state) transitions.add(1, { state: to.state })
    },
  })
  const liveJobs = createLiveJobs({ records, clock, log })
  metrics.meter
    .createObservableGauge('infinitetalk_live_jobs', { description: 'Jobs that have not ended' })
    .addCallback((observed) => observed.observe(liveJobs.count()))

  const publishOutputs = createPublishOutputs({ bus, objects, clock })
  const urlTtlSeconds = config.PRESIGNED_URL_TTL_SECONDS
  const shared = {
    bus,
    ledger,
    objects,
    publishOutputs,
    liveJobs,
    clock,
    log,
    timings,
    urlTtlSeconds,
  }
  const services = [liveJobs, ...subscriptions(shared), watchWorkers(shared), reconciler(shared)]
  const admin = createAdminServer({
    host: config.METRICS_HOST,
    port: config.METRICS_PORT,
    metrics,
    isHealthy: bus.isConnected,
  })
  for (const service of [admin, ...services]) await service.start()
  log.info({ metricsPort: admin.port() }, 'ready')

  log.info({ signal: await stopped }, 'stopping')
  await stopInPhases(
    [
      { name: 'work', deadlineMs: 10_000, stop: () => Promise.all(services.map((s) => s.stop())) },
      { name: 'admin server', deadlineMs: 1_000, stop: admin.stop },
      { name: 'bus', deadlineMs: 5_000, stop: bus.stop },
    ],
    clock,
    log,
  )
  process.exit(0)
}
