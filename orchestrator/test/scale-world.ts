import { randomUUID } from 'node:crypto'
import {
  type Beat,
  buckets,
  type JobRecord,
  type ScaleSummary,
  scaleKey,
  scalerKey,
  scalerLeaseSchema,
  scaleSummarySchema,
  type Wake,
  wakeKeyOf,
  wakeSchema,
} from '@avatar/contracts'
import { background, type Clock, createLog, systemClock } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { onTestFinished } from 'vitest'
import type { DispatchRules } from '../src/dispatch/dispatch-rules.ts'
import { startDoorbells } from './doorbell-server.ts'
import type { World } from './world.ts'

/** A price, so that a budget counts. */
const priced = { priceMicrosOf: () => 530 }

/**
 * What one test sees of the wake-up: a pool of its own, a provider that notes rings, and workers that the test
 * plays. Whatever the test starts ends with it.
 */
export async function scaleWorld(world: World, pool = `p-${randomUUID().slice(0, 8)}`) {
  const doorbells = await startDoorbells()
  onTestFinished(() => doorbells.stop())
  const wakeRecords = await world.operator.records(buckets.wake, wakeSchema)
  const summaries = await world.operator.records(buckets.meta, scaleSummarySchema)

  const leases = await world.operator.records(buckets.meta, scalerLeaseSchema)

  const wakes = async () => (await wakeRecords.list()).filter((wake) => wake.pool === pool)
  const summary = async (): Promise<ScaleSummary | undefined> => {
    const told = (await summaries.find(scaleKey))?.value
    return told?.pool === pool ? told : undefined
  }

  return {
    pool,
    doorbells,
    wakes,
    summary,
    /** An orchestrator that scales this pool. A test may stop it before its end. */
    async orchestrator(
      variables: Readonly<Record<string, string>> = {},
      rules: Partial<DispatchRules> = {},
      machine: Clock = systemClock,
    ) {
      const started = await world.startOrchestrator(
        machine,
        { ...priced, ...rules },
        { ...doorbells.settings, SCALE_POOL: pool, ...variables },
      )
      let isStopped = false
      const stop = async () => {
        if (isStopped) return
        isStopped = true
        await started.stop()
      }
      onTestFinished(stop)
      return { ...started, stop }
    },
    /** Leaves a wake-up as an earlier orchestrator did. */
    async leave(wake: Partial<Wake> & Pick<Wake, 'state'>): Promise<Wake> {
      const wakeId = randomUUID().replaceAll('-', '').slice(0, 24)
      const whole = { wakeId, provider: 'runpod', pool, intendedAtMs: Date.now(), ...wake } as const
      await wakeRecords.create(wakeKeyOf(whole), whole)
      return whole
    },
    /** A queued job, which alone may start; it needs no orchestrator to become one. */
    async job(difference: Partial<JobRecord> = {}) {
      const queued = { state: 'queued', queuedAtMs: Date.now(), announce: false } as const
      const job = await world.submit({ ...queued, ...difference })
      world.letOnly(job.owner)
      return job
    },
    worker: (name: string = randomUUID()) => world.createWorker(name, 'i1', pool),
    /** Sends heartbeats until the test ends, or until told. */
    async beating(
      worker: Awaited<ReturnType<World['createWorker']>>,
      beat: () => Partial<Beat>,
      jobs: Parameters<typeof worker.sendsHeartbeat>[0] = [],
    ) {
      const loop = background({
        name: 'heartbeats',
        everyMs: 100,
        clock: systemClock,
        log: createLog('test', 'silent'),
        pass: async () => worker.sendsHeartbeat(jobs, beat()),
      })
      await loop.start()
      onTestFinished(() => loop.stop())
      return () => loop.stop()
    },
    rings: (count: number) =>
      until(() => doorbells.rings.length >= count && doorbells.rings, {
        what: `${count} rings`,
      }),
    /** Waits until one of the pool's wake-ups is as the test wants it. */
    wake: (like: Partial<Wake>) =>
      until(
        async () =>
          (await wakes()).find((wake) =>
            Object.entries(like).every(([name, value]) => wake[name as keyof Wake] === value),
          ),
        { what: `a wake-up like ${JSON.stringify(like)}` },
      ),
    reason: (reason: ScaleSummary['reason']) =>
      until(
        async () => {
          const told = await summary()
          return told?.reason === reason && told
        },
        { what: `the reason ${reason}` },
      ),
    /** Waits for so many passes, each of which renews the lease: what did not happen in them will not. */
    async passes(count = 6) {
      const seen = new Set<number>()
      await until(
        async () => {
          // The broker may be away meanwhile.
          const lease = await leases.find(scalerKey).catch(() => undefined)
          if (lease) seen.add(lease.revision)
          return seen.size > count
        },
        { what: `${count} passes` },
      )
    },
  }
}
