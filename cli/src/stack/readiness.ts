import { provisionBroker } from '@avatar/backing-services'
import { envelopeOf, healthSchema, type Timings } from '@avatar/contracts'
import { systemClock } from '@avatar/service-kit'
import type { Wiring } from './settings.ts'
import { type StackFile, storeOf } from './stack-file.ts'

const pollEveryMs = 100

/** Repeats the look until it succeeds or the signal is aborted. */
export async function until(look: () => Promise<boolean>, signal: AbortSignal) {
  while (!signal.aborted && !(await look())) await systemClock.wait(pollEveryMs, signal)
}

/** Whether a URL answers 2xx. */
export async function isUp(url: string): Promise<boolean> {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(2_000) })).ok
  } catch {
    return false
  }
}

/** Whether the API answers and reports that the broker and the store are reachable. */
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
 * Waits for the S3 server and creates our bucket in it. SeaweedFS could create the bucket itself, but it
 * tries only once.
 */
export async function provisionStore({ s3 }: StackFile, signal: AbortSignal) {
  const store = storeOf(s3)
  try {
    await until(store.ensureBucket, signal)
  } finally {
    store.stop()
  }
}

/**
 * Provisions the broker, again and again until that succeeds: the broker may be killed in the middle, and
 * repeating it is harmless.
 */
export async function provisionUntilDone(
  { credentials, ports }: Wiring,
  timings: Timings,
  signal: AbortSignal,
  onTrouble: (reason: string) => void,
): Promise<void> {
  const operator = {
    url: `nats://127.0.0.1:${ports.nats}`,
    user: 'operator',
    password: credentials.nats.operator,
  }
  const publishers = Object.keys(credentials.publishers)
  const isProvisioned = () =>
    provisionBroker(operator, timings, { publishers }).then(
      () => true,
      (error) => {
        onTrouble(error instanceof Error ? error.message : String(error))
        return false
      },
    )
  await until(isProvisioned, signal)
}
