import { inboxPrefix, scaledTimings, type Timings } from '@avatar/contracts'
import type { z } from 'zod'
import { createAdminServer } from './admin-server.ts'
import type { Runnable } from './background.ts'
import { type Bus, connectBus } from './bus.ts'
import { type Clock, systemClock } from './clock.ts'
import { ConfigError, loadConfig, type natsConfig, type runtimeConfig } from './config.ts'
import { type Check, createHealth } from './health.ts'
import { createLog, type Log } from './log.ts'
import { type StopPhase, stopInPhases, stopSignal } from './shutdown.ts'
import { createMetrics, type Metrics } from './telemetry.ts'

/** What every service is given before it builds anything of its own. */
export type Foundation<C = unknown> = {
  config: Readonly<C>
  log: Log
  bus: Bus
  metrics: Metrics
  clock: Clock
  timings: Timings
}

type SharedConfig = z.output<z.ZodObject<typeof natsConfig & typeof runtimeConfig>>

/**
 * The parts of a service, started in order. `stopPhases` end its work before the bus is closed;
 * `checks` are the dependencies besides the broker that it cannot work without.
 */
export type ServiceParts = {
  start: Runnable[]
  stopPhases: StopPhase[]
  checks?: Readonly<Record<string, Check>>
}

/**
 * The life of a service process: configuration, logs, metrics and the bus, then the parts that `build`
 * makes of them, then a signal and an orderly stop.
 *
 * Exit codes: 0 after an orderly stop; 1 when a phase of the stop failed or was late, or the broker
 * closed the connection for good; 2 when the configuration is not valid, with every mistake listed.
 */
export async function runService<S extends z.ZodObject>(
  name: string,
  schema: S,
  env: Record<string, string | undefined>,
  build: (foundation: Foundation<z.output<S>>) => Promise<ServiceParts>,
): Promise<void> {
  const config = configOrExit(schema, env)
  // Every service's schema includes the shared pieces; TypeScript cannot see that through S.
  const shared = config as unknown as SharedConfig
  const metrics = createMetrics(name)
  const log = createLog(name, shared.LOG_LEVEL, { countFailure: metrics.countFailure })
  log.info({ config }, 'starting')
  const stopped = stopSignal()
  const clock = systemClock
  const bus = await connectBus({
    url: shared.NATS_URL,
    user: shared.NATS_USER,
    password: shared.NATS_PASSWORD.reveal(),
    inboxPrefix: inboxPrefix(shared.NATS_USER),
    log,
    clock,
    metrics,
  })
  let isStopping = false
  void bus.closed().then(() => {
    if (!isStopping) process.exit(1)
  })
  const timings = scaledTimings(shared.TIMINGS_DIVISOR)
  const parts = await build({ config, log, bus, metrics, clock, timings })
  const admin = createAdminServer({
    host: shared.METRICS_HOST,
    port: shared.METRICS_PORT,
    metrics,
    health: createHealth({
      checks: { nats: bus.ping, ...parts.checks },
      parts: () => parts.start,
      isStopping: () => isStopping,
      clock,
    }),
  })
  for (const part of [admin, ...parts.start]) await part.start()
  log.info({ metricsPort: admin.port() }, 'ready')

  const signal = await stopped
  isStopping = true
  log.info({ signal }, 'stopping')
  const last: StopPhase[] = [
    { name: 'admin server', deadlineMs: 1_000, stop: admin.stop },
    { name: 'bus', deadlineMs: 5_000, stop: bus.stop },
  ]
  const isOrderly = await stopInPhases([...parts.stopPhases, ...last], clock, log)
  process.exit(isOrderly ? 0 : 1)
}

function configOrExit<S extends z.ZodObject>(
  schema: S,
  env: Record<string, string | undefined>,
): Readonly<z.output<S>> {
  try {
    return loadConfig(schema, env)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`The configuration is not valid:\n${error.message}\n`)
    process.exit(2)
  }
}
