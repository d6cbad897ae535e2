import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type EventType,
  type JobRecord,
  scaledTimings,
  serviceNames,
  specOf,
} from '@avatar/contracts'
import {
  type Bus,
  systemClock as clock,
  mountSmallDisk,
  type ObjectStore,
  type SmallDisk,
  seededRandom,
} from '@avatar/service-kit'
import { openKeyRing } from '../key-ring.ts'
import { type DataFolder, dataFolder, ensureDataFolder } from '../stack/data-folder.ts'
import type { LineWriter } from '../stack/log-lines.ts'
import type { Environment } from '../stack/settings.ts'
import { readStackFile, storeOf } from '../stack/stack-file.ts'
import { startStack } from '../stack/start-stack.ts'
import { asOperator, findSystem } from '../system.ts'
import { type BrokerEdge, startBrokerEdge } from './broker-edge.ts'
import { openClockSteps } from './clock-steps.ts'
import { type Driven, driveJobs, type Key, publisher } from './drive-jobs.ts'
import { gatherEvidence, storyOf } from './gather-evidence.ts'
import { type Injected, injectFaults, openEdges } from './inject-faults.ts'
import { type Accepted, type Evidence, judge, type Verdict } from './judge.ts'
import { chaosMedia } from './media.ts'
import { type ChaosPlan, owners, type SmallDiskName, smallDisks } from './plan.ts'
import { startStoreEdge } from './store-edge.ts'

/** Waits are this much shorter than usual. With less of them a busy machine is always too late. */
const divisor = 4
const settings = {
  ENGINE: 'null',
  TIMINGS_DIVISOR: String(divisor),
  // Clients insist, as clients do while a system is in trouble.
  LIMIT_SUBMITS_PER_MINUTE: '1000000',
  LIMIT_SUBMIT_BURST: '1000000',
  LIMIT_READS_PER_MINUTE: '1000000',
  LIMIT_READ_BURST: '1000000',
  LIMIT_UNFINISHED_JOBS: '100000',
}
const diskBytes = 128 * 2 ** 20
/** How long everything may take to come to rest after the last fault. */
const settleWithinMs = 300_000
const settleLookMs = 500
/** A deletion is due when its time has come, and is then done by the janitor's next delivery. */
const deletionGraceMs = 30_000

/** The end of a run: what was promised, and what happened. */
export type ChaosReport = {
  plan: ChaosPlan
  injected: readonly Injected[]
  verdicts: readonly Verdict[]
  records: readonly JobRecord[]
  /** Jobs; a request that was repeated counts once. */
  accepted: number
  /** How long it took from the last fault until every job had ended. */
  settledMs: number
  /** Undefined where it could settle; else what was still open. */
  unsettled: string | undefined
}

/** Runs a plan against a system of its own, which is gone afterwards, and judges what remains of it. */
export async function runChaos(
  plan: ChaosPlan,
  options: { env: Environment; write: LineWriter; signal: AbortSignal },
): Promise<ChaosReport> {
  const folder = await mkdtemp(join(tmpdir(), 'avatar-chaos-'))
  const data = dataFolder(join(folder, 'data'))
  const disks = await mountDisks(data)
  const portOf = async (server: 'nats' | 's3') => {
    const stack = await readStackFile(data)
    return stack && Number(new URL(server === 'nats' ? stack.nats.url : stack.s3.endpoint).port)
  }
  const toBroker = await openEdges(() => startBrokerEdge(() => portOf('nats')))
  const toStore = await startStoreEdge(() => portOf('s3'), seededRandom(plan.seed))
  try {
    const clockSteps = await openClockSteps(plan.clockVictim, folder)
    const env = {
      ...options.env,
      ...settings,
      ...edgesOf(toBroker, toStore.url),
      ...clockSteps?.env,
    }
    const { write, signal } = options
    const stack = await startStack({ data, httpPort: 0, env, write, isVerbose: false })
    try {
      const ending = AbortSignal.any([signal, stack.refused])
      await stack.ready(ending)
      const refusal = stack.refusal()
      if (refusal) throw refusal
      signal.throwIfAborted()
      const system = await findSystem(data.path, {})
      const stackFile = await readStackFile(data)
      if (!stackFile) throw new Error('stack.json is gone')
      const objects = storeOf(stackFile.s3)
      try {
        return await asOperator(system, async (bus) => {
          const keys = await createKeys(bus)
          const media = await chaosMedia()
          const deps = { url: stack.url, keys, media, bus, objects, folder, signal }
          const driving = driveJobs(plan, deps)
          const injected = await injectFaults(
            plan,
            { stack, toBroker, toStore, clockSteps, disks },
            signal,
          )
          const calmAtMs = clock.monotonicMs()
          const unsettled = await settle(bus, driving.submitted, plan, signal)
          const settledMs = clock.monotonicMs() - calmAtMs
          const driven = await driving.stop()
          const evidence = await gather(bus, objects, driven, injected)
          return {
            ...{ plan, injected, settledMs, unsettled },
            verdicts: judge(evidence),
            records: evidence.records,
            accepted: new Set(evidence.accepted.map(({ jobId }) => jobId)).size,
          }
        })
      } finally {
        objects.stop()
      }
    } finally {
      await stack.stop()
    }
  } finally {
    for (const edge of Object.values(toBroker)) await edge.stop()
    await toStore.stop()
    for (const disk of Object.values(disks)) await disk.unmount()
    await rm(folder, { recursive: true, force: true })
  }
}

async function mountDisks(data: DataFolder) {
  await ensureDataFolder(data)
  const disks: Partial<Record<SmallDiskName, SmallDisk>> = {}
  for (const name of smallDisks) {
    const path = name === 'nats' ? data.natsStore : data.spool(name)
    await mkdir(path, { recursive: true })
    const disk = await mountSmallDisk(path, diskBytes)
    if (disk) disks[name] = disk
  }
  return disks
}

function edgesOf(toBroker: Readonly<Record<string, BrokerEdge>>, storeUrl: string) {
  const entries = serviceNames.flatMap((name): [string, string][] => {
    const prefix = name.toUpperCase()
    const nats: [string, string] = [`${prefix}_NATS_URL`, toBroker[name]?.url ?? '']
    const usesStore = specOf(name).needs?.includes('store')
    return usesStore ? [nats, [`${prefix}_S3_ENDPOINT`, storeUrl]] : [nats]
  })
  return Object.fromEntries(entries)
}

async function createKeys(bus: Bus): Promise<Key[]> {
  const ring = await openKeyRing(bus)
  const keys: Key[] = []
  for (let number = 0; number < owners; number++) {
    const key = await ring.create(`chaos-${number}`)
    keys.push({ key, owner: (await ring.find(key)).owner })
  }
  return keys
}

/** @returns what was still open when the time was over */
async function settle(
  bus: Bus,
  submitted: Promise<void>,
  plan: ChaosPlan,
  signal: AbortSignal,
): Promise<string | undefined> {
  const deadlineMs = clock.monotonicMs() + settleWithinMs
  let areSubmitted = false
  void submitted.then(() => {
    areSubmitted = true
  })
  let open = 'not every submission was answered'
  while (!signal.aborted && clock.monotonicMs() < deadlineMs) {
    await clock.wait(settleLookMs, signal)
    if (!areSubmitted) continue
    const seen = await storyOf(bus).catch(() => undefined)
    if (!seen) continue
    const { records, events } = seen
    const ended = new Set(events.filter(({ type }) => isEnd(type)).map(({ jobId }) => jobId))
    const deleted = new Set(
      events.filter(({ type }) => type === 'job.deleted').map(({ jobId }) => jobId),
    )
    const missing = records.filter(({ jobId }) => !ended.has(jobId))
    const kept = records.filter(({ state, jobId }) => state === 'cancelled' && !deleted.has(jobId))
    if (missing.length + kept.length === 0 && records.length >= plan.jobs.length) return undefined
    open =
      `${missing.length} jobs without an end, ${kept.length} cancelled ones not deleted, ` +
      `${records.length} records of ${plan.jobs.length}`
  }
  return open
}

const isEnd = (type: EventType) =>
  type === 'job.completed' || type === 'job.failed' || type === 'job.cancelled'

async function gather(
  bus: Bus,
  objects: ObjectStore,
  driven: Driven,
  injected: readonly Injected[],
): Promise<Evidence> {
  const remains = await gatherEvidence(bus, objects)
  const { accepted, published, sightings, foreignAnswers } = driven
  const byEvent = published.map((name): Accepted => {
    const record = remains.records.find(
      ({ owner, reference }) => owner === publisher && reference === name,
    )
    // Its id follows from its name by a rule of ingest; without a record it is lost under any name.
    return { jobId: record?.jobId ?? name, owner: publisher, name }
  })
  const { orphanAgeMs, sweepEveryMs } = scaledTimings(divisor)
  return {
    accepted: [...accepted, ...byEvent],
    ...{ ...remains, sightings, foreignAnswers },
    faults: injected,
    ...{ orphanAgeMs, sweepEveryMs, deletionGraceMs },
  }
}
