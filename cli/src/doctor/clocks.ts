import { clockMayDifferMs, createBrokerClock, systemClock } from '@avatar/service-kit'
import { createApiClient } from '../api-client.ts'
import { readinessOf } from '../service-readiness.ts'
import type { StackFile } from '../stack/stack-file.ts'
import { asOperator, type System } from '../system.ts'
import { type Finding, finding } from './finding.ts'

/** How far somebody's clock is ahead of the broker's. */
type Reading = { whose: string; aheadSeconds: number }

/**
 * Whether every clock agrees with the broker's, by whose time everything happens: those of the services,
 * of the workers, and of this machine. Nothing is found of what does not answer.
 */
export async function clockFindings(
  system: System,
  stack: StackFile | undefined,
): Promise<Finding[]> {
  const looks = [
    system.nats ? ofThisMachine(system) : [],
    stack ? ofServices(stack) : [],
    system.url ? ofWorkersAndApi(system.url, { hasServices: stack !== undefined }) : [],
  ]
  const readings = (await Promise.all(looks)).flat()
  if (readings.length === 0) return []
  const wrong = readings.filter(
    ({ aheadSeconds }) => Math.abs(aheadSeconds) * 1000 > clockMayDifferMs,
  )
  const seen = wrong.map(({ whose, aheadSeconds }) => `${whose} ${describeOffset(aheadSeconds)}`)
  return [
    finding(
      'clocks',
      wrong.length === 0,
      seen.join('; ') || "all agree with the broker's",
      "sudo timedatectl set-ntp true # on each machine named, and on the broker's",
    ),
  ]
}

async function ofThisMachine(system: System): Promise<Reading[]> {
  const reading = asOperator(system, async (bus) => {
    const clock = createBrokerClock({ bus, clock: systemClock, log: bus.log })
    await clock.readOnce()
    return [{ whose: 'this machine', aheadSeconds: clock.aheadMs() / 1000 }]
  })
  return reading.catch(() => [])
}

async function ofServices(stack: StackFile): Promise<Reading[]> {
  return (await readinessOf(stack)).flatMap(({ name, clockAheadSeconds }) =>
    clockAheadSeconds === undefined ? [] : [{ whose: name, aheadSeconds: clockAheadSeconds }],
  )
}

async function ofWorkersAndApi(
  url: string,
  { hasServices }: { hasServices: boolean },
): Promise<Reading[]> {
  const health = await createApiClient(url).health()
  if (!health) return []
  const api = { whose: 'ingest', aheadSeconds: health.clock_ahead_seconds }
  const workers = health.workers.map(({ engine, clock_ahead_seconds }) => ({
    whose: `sidecar (${engine})`,
    aheadSeconds: clock_ahead_seconds,
  }))
  return [...(hasServices ? [] : [api]), ...workers]
}

/** `7 h 0 min ahead`, `20 min 3 s behind`. */
function describeOffset(aheadSeconds: number): string {
  const seconds = Math.round(Math.abs(aheadSeconds))
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60]
  const size = hours > 0 ? `${hours} h ${minutes} min` : `${minutes} min ${seconds % 60} s`
  return `${size} ${aheadSeconds > 0 ? 'ahead' : 'behind'}`
}
