import { inboxPrefix, scaledTimings, type Timings } from '@avatar/contracts'
import type { z } from 'zod'
import { createAdminServer } from './admin-server.ts'
import { type Bus, connectBus } from './bus.ts'
import { type Clock, systemClock } from './clock.ts'
import { ConfigError, loadConfig, type Secret } from './config.ts'
import { type Runnable, type StopPhase, stopInPhases, stopSignal } from './lifecycle.ts'
import { createLog, type Log } from './log.ts'
import { createMetrics, type Metrics } from './telemetry.ts'

/** What every service is given before it builds anything of its own. */
export type Foundation<C> = {
  config: Readonly<C>
  log: Log
  bus: Bus
  metrics: Metrics
  clock: Clock
  timings: Timings
}

type SharedConfig = {
  NATS_URL: string
  NATS_USER: string
  NATS_PASSWORD: Secret
  LOG_LEVEL: string
  METRICS_HOST: string
  METRICS_PORT: number
  TIMINGS_DIVISOR: number
}

/** The parts of a service, started in order; `stopPhases` end its work before the bus is closed. */
export type ServiceParts = { start: Runnable[]; stopPhases: StopPhase[] }

/**
 * The life of a service process: configuration, logs, metrics and the bus; then what `build` makes
 * of them; then a signal and an orderly end. A wrong configuration ends with 2 and says everything
 * that is wrong; a bus given up for good ends with 1.
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
  const log = createLog(name, shared.LOG_LEVEL)
  log.info({ config }, 'starting')
  const stopped = stopSignal()
  const clock = systemClock
  const metrics = createMetrics(name)
  const bus = await connectBus({
    url: shared.NATS_URL,
    user: shared.NATS_USER,
    password: shared.NATS_PASSWORD.reveal(),
    inboxPrefix: inboxPrefix(shared.NATS_USER),
    log,
    clock,
  })
  let isStopping = false
  void bus.closed().then(() => {
    if (!isStopping) process.exit(1)
  })
  const admin = createAdminServer({
    host: shared.METRICS_HOST,
    port: shared.METRICS_PORT,
    metrics,
    isHealthy: bus.isConnected,
  })

  const timings = scaledTimings(shared.TIMINGS_DIVISOR)
  const parts = await build({ config, log, bus, metrics, clock, timings })
  for (const part of [admin, ...parts.start]) await part.start()
  log.info({ metricsPort: admin.port() }, 'ready')

  const signal = await stopped
  isStopping = true
  log.info({ signal }, 'stopping')
  const last: StopPhase[] = [
    { name: 'admin server', deadlineMs: 1_000, stop: admin.stop },
    { name: 'bus', deadlineMs: 5_000, stop: bus.stop },
  ]
  await stopInPhases([...parts.stopPhases, ...last], clock, log)
  process.exit(0)
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

/** One phase that stops several parts at the same time. */
export function stopTogether(name: string, deadlineMs: number, parts: Runnable[]): StopPhase {
  return { name, deadlineMs, stop: () => Promise.all(parts.map((part) => part.stop())) }
}
