import { randomUUID } from 'node:crypto'
import { provisionBroker } from '@avatar/backing-services'
import { createTestNats, createTestS3 } from '@avatar/backing-services/testing'
import {
  buckets,
  consumers,
  deletionDueSchema,
  eventSchemas,
  type JobRecord,
  jobKey,
  jobRecordSchema,
  outputKey,
  type ServiceUser,
  scaledTimings,
  subjects,
} from '@avatar/contracts'
import { aJob, aRender } from '@avatar/contracts/testing'
import {
  type Bus,
  type Clock,
  consumerLoop,
  createBrokerClock,
  createLog,
  createMetrics,
  createObjectStore,
  type ListedObject,
  systemClock,
} from '@avatar/service-kit'
import { itKeepsTheRunnableContract, until } from '@avatar/service-kit/testing'
import { jetstream } from '@nats-io/jetstream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { onDeletionDue } from '../src/handlers/deletion-due.ts'
import { createMayDelete } from '../src/may-delete.ts'
import { measureDeletions } from '../src/measure-deletions.ts'
import { sweepObjects } from '../src/sweeps/sweep-objects.ts'
import { putHello } from './put-hello.ts'

const hourMs = 3_600_000

let world: Awaited<ReturnType<typeof createWorld>>

beforeAll(async () => {
  world = await createWorld()
})

afterAll(() => world.stop())

async function createWorld() {
  const [nats, s3] = await Promise.all([createTestNats(), createTestS3()])
  await Promise.all([nats.start(), s3.start()])
  const log = createLog('test', 'silent')
  const clock = systemClock
  const timings = scaledTimings(10)
  const connections: Bus[] = []
  const connectAs = async (user: ServiceUser) => {
    const bus = await nats.connectAs(user, { log })
    connections.push(bus)
    return bus
  }
  const operator = await connectAs('operator')
  await provisionBroker(nats.operator, timings)
  const raw = await nats.connectRawAs('operator')
  const bus = await connectAs('janitor')
  const objects = createObjectStore(s3)
  const own = await bus.records(buckets.job, jobRecordSchema)
  const records = await operator.records(buckets.job, jobRecordSchema)
  const agreement = createBrokerClock({ bus, clock, log })
  await agreement.start()
  const metrics = createMetrics('janitor')
  const mayDelete = createMayDelete({ agreement, clock, log, metrics })
  const measure = measureDeletions(metrics.of('janitor'))
  const reader = consumerLoop({
    bus,
    spec: consumers(timings).janitor,
    concurrency: 4,
    timings,
    clock,
    log,
    metrics,
    schema: deletionDueSchema,
    handle: onDeletionDue({ bus, objects, records: own, clock, timings, mayDelete, measure }),
  })
  await reader.start()
  const inFuture = (itsClock: Clock) => ({
    ...objects,
    list: (prefix: string) => listedIn(itsClock, objects.list(prefix)),
  })
  const sweeper = (itsClock: Clock, onDeleted?: () => void, store = inFuture(itsClock)) =>
    sweepObjects({
      ...{ bus, records: own, retentionMs: 6 * hourMs, log, timings, mayDelete },
      objects: store,
      clock: itsClock,
      measure: onDeleted ? { ...measure, deleted: onDeleted } : measure,
    })
  const clockIn = (ms: number) => ({ ...clock, nowMs: () => Date.now() + ms })
  /** A sweep of a store whose clock is this far ahead, or behind. */
  const sweepOfStoreAhead = (ms: number) => {
    async function* list(prefix: string) {
      for await (const object of objects.list(prefix)) {
        const { modifiedAtMs, listedAtMs } = object
        yield { ...object, modifiedAtMs: modifiedAtMs + ms, listedAtMs: listedAtMs + ms }
      }
    }
    return sweeper(clock, undefined, { ...objects, list }).runOnce()
  }
  /** A store as far in the future as a clock. */
  async function* listedIn({ nowMs }: Clock, listed: AsyncIterable<ListedObject>) {
    for await (const object of listed) yield { ...object, listedAtMs: nowMs() }
  }
  /** A sweep so far in the future. */
  const sweepIn = (ms: number) => sweeper(clockIn(ms)).runOnce()
  /** The same, stopped while it deletes its first object. */
  const stoppedSweepIn = (ms: number) => {
    const stop = new AbortController()
    return sweeper(clockIn(ms), () => stop.abort()).runOnce(stop.signal)
  }

  const putObject = (key: string) => putHello(objects, key)

  /** Whether the job's deletion was published. */
  const isDeletionPublished = async (jobId: string) =>
    (await operator.lastMessage('EVENTS', subjects.event('job.deleted', jobId))) !== undefined

  const removedOf = async (jobId: string) => {
    const found = await operator.lastMessage('EVENTS', subjects.event('job.deleted', jobId))
    return eventSchemas['job.deleted'].parse(found?.body).removed
  }

  /** A job with one input and one output. */
  async function jobWithMedia(difference: Partial<JobRecord>) {
    const job = aJob({ jobId: randomUUID(), ...difference })
    await records.create(jobKey(job.owner, job.jobId), job)
    await putObject(`jobs/${job.jobId}/input/a.png`)
    await putObject(`jobs/${job.jobId}/out/1/video.mp4`)
    return job
  }

  async function keysOf(jobId: string) {
    const keys: string[] = []
    for await (const { key } of objects.list(`jobs/${jobId}/`)) keys.push(key)
    return keys
  }

  return {
    metrics,
    operator,
    raw,
    s3,
    objects,
    putObject,
    jobWithMedia,
    keysOf,
    isDeletionPublished,
    removedOf,
    sweeper,
    sweepIn,
    stoppedSweepIn,
    sweepOfStoreAhead,
    /** What the orchestrator schedules at the end of a job. */
    schedule: ({ jobId, owner }: JobRecord, atMs: number) =>
      operator.schedule(subjects.scheduledDeletion(jobId), subjects.dueDeletion(jobId), atMs, {
        jobId,
        owner,
      }),
    async stop() {
      await Promise.all([reader.stop(), agreement.stop()])
      await Promise.all([raw.connection.close(), ...connections.map((bus) => bus.stop())])
      objects.stop()
      await Promise.all([nats.stop(), s3.stop()])
    },
  }
}

const ended = (expiresAtMs: number) => ({ state: 'completed', expiresAtMs }) as const

describe.each(['completed', 'failed', 'cancelled'] as const)('a job that %s', (state) => {
  it('loses inputs and output when its timer fires, not before, and the deletion is published', async () => {
    const job = await world.jobWithMedia({ state, expiresAtMs: 0 })
    const expiresAtMs = Date.now() + (state === 'cancelled' ? 0 : 1_500)
    await world.schedule(job, expiresAtMs)
    await until(async () => (await world.keysOf(job.jobId)).length === 0, { what: 'deletion' })
    expect(Date.now()).toBeGreaterThanOrEqual(expiresAtMs)
    await until(() => world.isDeletionPublished(job.jobId))
    const prefix = `jobs/${job.jobId}/`
    const names = [`${prefix}input/a.png`, `${prefix}out/1/video.mp4`]
    expect(await world.removedOf(job.jobId)).toEqual(names.map((key) => ({ key, bytes: 5 })))
  })
})

it('a janitor that was killed in the middle names what was left, and a repeated timer nothing', async () => {
  const job = await world.jobWithMedia(ended(0))
  await world.objects.delete(`jobs/${job.jobId}/input/a.png`)
  await world.schedule(job, Date.now())
  await until(() => world.isDeletionPublished(job.jobId))
  expect(await world.removedOf(job.jobId)).toMatchObject([
    { key: `jobs/${job.jobId}/out/1/video.mp4` },
  ])
})

it('the sweep removes the video of an attempt that was given up, and keeps the result', async () => {
  const jobId = randomUUID()
  const result = aRender({ key: outputKey(jobId, 2) })
  await world.jobWithMedia({ jobId, ...ended(Date.now() + 40 * hourMs), epoch: 2, result })
  await world.putObject(result.key)
  await world.sweepIn(0)
  expect(await world.keysOf(jobId)).toHaveLength(3)
  await world.sweepIn(2 * hourMs)
  expect(await world.keysOf(jobId)).toEqual([`jobs/${jobId}/input/a.png`, result.key])
  expect(await world.isDeletionPublished(jobId)).toBe(false)
})

it('publishes a deletion that a crash kept from being published', async () => {
  const job = await world.jobWithMedia(ended(0))
  await world.objects.deletePrefix(`jobs/${job.jobId}/`)
  await world.schedule(job, Date.now())
  await until(() => world.isDeletionPublished(job.jobId))
})

it('dead-letters a timer that names no job, and handles the next one', async () => {
  const job = await world.jobWithMedia(ended(0))
  const wrong = { ...job, owner: 'Some Body' }
  await world.schedule(wrong, Date.now())
  const letters = () => world.operator.readStream('DLQ', 'dlq.sched.janitor', 1, 10)
  await until(async () => (await letters()).length === 1)
  expect((await letters())[0]?.body).toMatchObject({ code: 'INVALID_MESSAGE', stream: 'SCHED' })
  expect(await world.keysOf(job.jobId)).toHaveLength(2)
  await world.schedule(job, Date.now())
  await until(() => world.isDeletionPublished(job.jobId))
})

it('keeps the media of a job that has not ended, whatever a timer says', async () => {
  const living = await world.jobWithMedia({ state: 'rendering', epoch: 1 })
  const other = await world.jobWithMedia(ended(0))
  await world.schedule(living, Date.now())
  await world.schedule(other, Date.now() + 1)
  await until(async () => (await world.keysOf(other.jobId)).length === 0)
  expect(await world.keysOf(living.jobId)).toHaveLength(2)
})

it('deletes after an outage of the store what was due during it', async () => {
  const job = await world.jobWithMedia(ended(0))
  await world.s3.kill()
  await world.schedule(job, Date.now())
  await until(async () => world.operator.lastMessage('SCHED', subjects.dueDeletion(job.jobId)))
  await world.s3.start()
  await until(async () => (await world.keysOf(job.jobId)).length === 0)
})

describe('the sweep', () => {
  itKeepsTheRunnableContract(() => {
    // Between two passes the loop waits, and nothing else uses this clock.
    let waits = 0
    const wait: Clock['wait'] = async (ms, signal) => {
      waits++
      await systemClock.wait(ms, signal)
      waits--
    }
    return { runnable: world.sweeper({ ...systemClock, wait }), atWork: () => waits }
  })

  it('stops after the job in hand, and the next one goes on', async () => {
    for (const _ of [1, 2]) await world.jobWithMedia(ended(Date.now() + hourMs))
    expect(await world.stoppedSweepIn(2 * hourMs)).toMatchObject({ expired: 2, announced: 1 })
    expect(await world.sweepIn(2 * hourMs)).toMatchObject({ expired: 2, announced: 1 })
  })
})

it('sweeps what events missed: expired, orphaned and stale objects, and nothing else', async () => {
  const living = await world.jobWithMedia({ state: 'queued' })
  const keptId = randomUUID()
  const result = aRender({ key: outputKey(keptId, 1) })
  const kept = await world.jobWithMedia({
    ...{ jobId: keptId, result },
    ...ended(Date.now() + 40 * hourMs),
  })
  const late = await world.jobWithMedia({ ...ended(Date.now() + hourMs), deletedAtMs: 1 })
  const orphan = randomUUID()
  await world.putObject(`jobs/${orphan}/input/a.png`)
  await world.putObject('intake/acme/a.png')

  const lost = await world.jobWithMedia({ state: 'failed', expiresAtMs: Date.now() + hourMs })
  const broken = randomUUID()
  await jetstream(world.raw.connection).publish(`$KV.job.acme.${broken}`, '{}')
  await world.putObject(`jobs/${broken}/input/a.png`)
  await world.putObject('jobs/not-a-job')

  expect(await world.sweepIn(0)).toMatchObject({ expired: 0, orphaned: 0, stale: 0, announced: 0 })
  expect(await world.isDeletionPublished(lost.jobId)).toBe(false)
  const swept = await world.sweepIn(2 * hourMs)
  expect(swept).toMatchObject({ expired: 4, orphaned: 1, stale: 0, announced: 1, failed: 1 })
  expect(await world.isDeletionPublished(lost.jobId)).toBe(true)
  expect(await world.removedOf(lost.jobId)).toHaveLength(2)
  expect(await world.isDeletionPublished(late.jobId)).toBe(false)
  expect(await world.keysOf(lost.jobId)).toEqual([])
  expect(await world.keysOf(broken)).toHaveLength(1)
  expect(await world.sweepIn(31 * hourMs)).toMatchObject({ stale: 1 })
  expect(await world.keysOf(orphan)).toEqual([])
  expect(await world.keysOf(late.jobId)).toEqual([])
  expect(await world.keysOf(living.jobId)).toHaveLength(2)
  expect(await world.keysOf(kept.jobId)).toHaveLength(2)
})

it.each([48 * hourMs, -48 * hourMs])(
  'the sweep keeps an input just stored by a store whose clock is %i ms ahead',
  async (aheadMs) => {
    const jobId = randomUUID()
    await world.putObject(`jobs/${jobId}/input/a.png`)
    await world.putObject(`intake/acme/${jobId}.png`)
    expect(await world.sweepOfStoreAhead(aheadMs)).toMatchObject({ orphaned: 0, stale: 0 })
    expect(await world.keysOf(jobId)).toHaveLength(1)
  },
)
