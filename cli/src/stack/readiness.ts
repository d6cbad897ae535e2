import {
  envelopeOf,
  healthSchema,
  inboxPrefix,
  scaledTimings,
  type Timings,
} from '@avatar/contracts'
import {
  type Bus,
  type Clock,
  connectBus,
  createLog,
  provision,
  provisionPublisher,
} from '@avatar/service-kit'
import type { Credentials } from './credentials.ts'
import type { Ports } from './ports.ts'
import { type StackFile, storeOf } from './stack-file.ts'

const lookAgainMs = 100

/** Looks again and again until it holds, or the signal is aborted. */
export async function until(look: () => Promise<boolean>, clock: Clock, signal: AbortSignal) {
  while (!signal.aborted && !(await look())) await clock.wait(lookAgainMs, signal)
}

/** Whether a server says that it is well. */
export async function isUp(url: string): Promise<boolean> {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(2_000) })).ok
  } catch {
    return false
  }
}

/** Whether the API answers, and says that the broker and the store are there. */
export async function isHealthy(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/health`, { signal: AbortSignal.timeout(2_000) })
    const health = envelopeOf(healthSchema).safeParse(await response.json()).data?.data
    return health?.nats === 'ok' && health.storage === 'ok'
  } catch {
    return false
  }
}

/**
 * Waits for the S3 server, and for our bucket in it. SeaweedFS would make the bucket itself, but tries
 * that once and goes on without.
 */
export async function provisionStore({ s3 }: StackFile, clock: Clock, signal: AbortSignal) {
  const store = storeOf(s3)
  try {
    await until(store.ensureBucket, clock, signal)
  } finally {
    store.stop()
  }
}

/**
 * Streams, buckets and consumers; repeating it changes nothing, so it is repeated until it was done: the
 * broker may be killed in the middle.
 */
export async function provisionBroker(options: {
  credentials: Credentials
  ports: Ports
  env: Readonly<Record<string, string | undefined>>
  clock: Clock
  signal: AbortSignal
  onTrouble: (reason: string) => void
}): Promise<void> {
  const { credentials, ports, env, clock, signal, onTrouble } = options
  const bus = await connectBus({
    url: `nats://127.0.0.1:${ports.nats}`,
    user: 'operator',
    password: credentials.nats.operator,
    inboxPrefix: inboxPrefix('operator'),
    log: createLog('provision', 'silent'),
    clock,
  })
  const timings = scaledTimings(Number(env['TIMINGS_DIVISOR'] || 1))
  const publishers = Object.keys(credentials.publishers)
  const isProvisioned = () =>
    provisionAll(bus, publishers, timings).then(
      () => true,
      (error) => {
        onTrouble(error instanceof Error ? error.message : String(error))
        return false
      },
    )
  try {
    await until(isProvisioned, clock, signal)
  } finally {
    await bus.stop()
  }
}

async function provisionAll(bus: Bus, publishers: readonly string[], timings: Timings) {
  await provision(bus, timings)
  for (const name of publishers) await provisionPublisher(bus, name, timings)
}
