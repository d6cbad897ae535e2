import { inboxPrefix, type MeasuredService, scaledTimings, type Timings } from '@avatar/contracts'
import type { z } from 'zod'
import { createAdminServer } from './admin-server.ts'
import type { Runnable } from './background.ts'
import { type ClockAgreement, createBrokerClock } from './broker-clock.ts'
import { type Bus, connectBus } from './bus.ts'
import { type Clock, systemClock } from './clock.ts'
import { collectorOf } from './collector.ts'
import {
  ConfigError,
  loadConfig,
  type natsConfig,
  refusedConfigExitCode,
  type runtimeConfig,
} from './config.ts'
import { type Check, createHealth } from './health.ts'
import { refuseConfiguration } from './last-words.ts'
import { createLog, type Log } from './log.ts'
import { measureProcess } from './measure-process.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import { schemaTooOldExitCode, schemaTrouble } from './schema-check.ts'
import { type StopPhase, stopInPhases, stopSignal } from './shutdown.ts'
import { startTracing } from './tracing.ts'

/** What every service is given before it builds anything of its own. */
export type Foundation<C = unknown> = {
  config: Readonly<C>
  log: Log
  bus: Bus
  metrics: Metrics
  /** The broker's time. */
  clock: Clock
  agreement: ClockAgreement
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
 * The life of a service process: configuration, logs, metrics, the bus and its time, then the parts that
 * `build` makes of them, then a signal and an orderly stop.
 *
 * Exit codes: 0 after an orderly stop; 1 when a phase of the stop failed or was late, or the broker
 * closed the connection for good; 2 when the configuration is not valid, with every mistake listed; 3
 * when the broker's layout is older than this release needs.
 */
export async function runService<S extends z.ZodObject>(
  name: MeasuredService,
  schema: S,
  env: Record<string, string | undefined>,
  build: (foundation: Foundation<z.output<S>>) => Promise<ServiceParts>,
): Promise<void> {
  const config = configOrExit(name, schema, env)
  // Every service's schema includes the shared pieces; TypeScript cannot see that through S.
  const shared = config as unknown as SharedConfig
  const metrics = createMetrics(name)
  const log = createLog(name, shared.LOG_LEVEL, {
    countFailure: metrics.countFailure,
    countLine: metrics.countLogLine,
  })
  log.info({ config }, 'starting')
  const stopped = stopSignal()
  const bus = await connectBus({
    url: shared.NATS_URL,
    user: shared.NATS_USER,
    password: shared.NATS_PASSWORD.reveal(),
    inboxPrefix: inboxPrefix(shared.NATS_USER),
    log,
    metrics,
  })
  let isStopping = false
  void bus.closed().then(() => {
    if (!isStopping) process.exit(1)
  })
  const timings = scaledTimings(shared.TIMINGS_DIVISOR)
  const clock = createBrokerClock({ bus, clock: systemClock, log })
  await clock.start()
  const trouble = await schemaTrouble(bus)
  if (trouble !== undefined) {
    log.fatal({ reason: trouble }, 'the layout of the broker is too old')
    process.exit(schemaTooOldExitCode)
  }
  const tracing = await startTracing({
    ...{ service: name, clock, log, countDropped: metrics.countDroppedSpans },
    collector: collectorOf(shared),
  })
  const parts = await build({ config, log, bus, metrics, clock, agreement: clock, timings })
  const watched = { parts: () => [clock, ...parts.start], clock, agreement: clock }
  const health = createHealth({
    ...watched,
    checks: { nats: brokerCheck(bus), ...parts.checks },
    isStopping: () => isStopping,
  })
  measureProcess({ ...watched, metrics, health, log })
  const { METRICS_HOST: host, METRICS_PORT: port } = shared
  const admin = createAdminServer({ host, port, metrics, health })
  for (const part of [admin, ...parts.start])
    await part.start().catch((error) => {
      const mistake = addressMistake(config, error)
      throw mistake === undefined ? error : refuse(name, mistake)
    })
  log.info({ metricsPort: admin.port() }, 'ready')

  const signal = await stopped
  isStopping = true
  log.info({ signal }, 'stopping')
  const last: StopPhase[] = [
    { name: 'admin server', deadlineMs: 1_000, stop: admin.stop },
    { name: 'clock', deadlineMs: 5_000, stop: clock.stop },
    { name: 'bus', deadlineMs: 5_000, stop: bus.stop },
    // It stops within 2 s: a collector that is away must not make the stop a failed one.
    { name: 'telemetry', deadlineMs: 4_000, stop: tracing.stop },
  ]
  const isOrderly = await stopInPhases([...parts.stopPhases, ...last], clock, log)
  process.exit(isOrderly ? 0 : 1)
}

/** The broker answers and can store. */
function brokerCheck(bus: Bus): Check {
  return async (withinMs) =>
    (await bus.ping(withinMs)) && ((await bus.storageTrouble(withinMs))?.sentence ?? true)
}

function configOrExit<S extends z.ZodObject>(
  name: string,
  schema: S,
  env: Record<string, string | undefined>,
): Readonly<z.output<S>> {
  try {
    return loadConfig(schema, env)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return refuse(name, error.message)
  }
}

function refuse(name: string, mistakes: string): never {
  refuseConfiguration(name, mistakes.split(/\n(?=✖)/))
  process.exit(refusedConfigExitCode)
}

/** Errors of a port, and of a host, on which to listen, that only another one cures. */
const portErrors: ReadonlySet<unknown> = new Set(['EADDRINUSE', 'EACCES'])
const hostErrors: ReadonlySet<unknown> = new Set(['EADDRNOTAVAIL', 'ENOTFOUND'])

/**
 * Which settings give an address that cannot be listened on, and why; undefined when the error is
 * about something else.
 */
function addressMistake(config: object, error: unknown): string | undefined {
  if (!(error instanceof Error && 'code' in error)) return undefined
  const { code, syscall, port, address, hostname } = error as NodeJS.ErrnoException & {
    port?: number
    address?: string
    hostname?: string
  } // Node's own errors of sockets and names.
  const isPort = syscall === 'listen' && portErrors.has(code)
  if (!isPort && !hostErrors.has(code)) return undefined
  const host = address ?? hostname
  const [ending, wrong] = isPort ? ['_PORT', port] : ['_HOST', host]
  const settings = Object.entries(config).filter(
    ([name, value]) => name.endsWith(ending) && value === wrong,
  )
  if (settings.length === 0) return undefined
  const names = settings.map(([name]) => name).join(', ')
  const cure = code === 'EADDRINUSE' ? '; stop what uses it, or choose another port' : ''
  const where = [host, port].filter((part) => part !== undefined).join(':')
  return `✖ cannot listen on ${where}: ${code}${cure}\n  → at ${names}`
}
