import { randomUUID } from 'node:crypto'
import { provisionBroker } from '@avatar/backing-services'
import { createTestNats, createTestS3 } from '@avatar/backing-services/testing'
import {
  buckets,
  type JobRecord,
  jobKey,
  jobRecordSchema,
  scaledTimings,
  subjects,
} from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import {
  type Bus,
  type Clock,
  createBrokerClock,
  createLog,
  createMetrics,
  createObjectStore,
  loadConfig,
  stopInPhases,
  systemClock,
} from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildJanitor } from '../src/build-janitor.ts'
import { janitorConfigSchema } from '../src/config.ts'
import { putHello } from './put-hello.ts'

const hourMs = 3_600_000
const minuteMs = 60_000

let world: Awaited<ReturnType<typeof createWorld>>

beforeAll(async () => {
  world = await createWorld()
})

afterAll(() => world.stop())

/** The whole janitor with its timer and its sweep, on a machine and with a broker whose clocks a test sets. */
async function createWorld() {
  const [nats, s3] = await Promise.all([createTestNats(), createTestS3()])
  await Promise.all([nats.start(), s3.start()])
  const timings = { ...scaledTimings(100), sweepEveryMs: 100, orphanAgeMs: hourMs }
  await provisionBroker(nats.operator, timings)
  const operator = await nats.connectAs('operator')
  const bus = await nats.connectAs('janitor')
  const objects = createObjectStore(s3)
  const records = await operator.records(buckets.job, jobRecordSchema)
  const shift = { machineAheadMs: 0, brokerAheadMs: 0 }
  const machine: Clock = { ...systemClock, nowMs: () => Date.now() + shift.machineAheadMs }
  const lines: Record<string, unknown>[] = []
  const destination = { write: (line: string) => void lines.push(JSON.parse(line)) }
  const log = createLog('janitor', 'info', { destination })
  const shiftedBus: Bus = { ...bus, timeMs: async () => (await bus.timeMs()) + shift.brokerAheadMs }
  const clock = createBrokerClock({ bus: shiftedBus, clock: machine, log })
  await clock.start()
  const metrics = createMetrics('janitor')
  const parts = await buildJanitor({
    config: loadConfig(janitorConfigSchema, {
      NATS_URL: nats.url,
      NATS_USER: 'janitor',
      NATS_PASSWORD: nats.passwords.janitor,
      S3_ENDPOINT: s3.endpoint,
      R2_ACCESS_KEY_ID: s3.accessKeyId,
      R2_SECRET_ACCESS_KEY: s3.secretAccessKey,
      R2_BUCKET_NAME: s3.bucket,
      METRICS_PORT: '0',
    }),
    ...{ bus: shiftedBus, log, metrics, clock, agreement: clock, timings },
  })
  for (const part of parts.start) await part.start()

  /** A finished job with a video. Its timer fires now, whenever it expires. */
  async function finished(expiresInMs: number) {
    const expiresAtMs = Date.now() + expiresInMs
    const job = aJob({ jobId: randomUUID(), state: 'completed', epoch: 1, expiresAtMs })
    await records.create(jobKey(job.owner, job.jobId), job)
    await putHello(objects, `jobs/${job.jobId}/out/1/video.mp4`)
    const { jobId, owner } = job
    const [from, to] = [subjects.scheduledDeletion(jobId), subjects.dueDeletion(jobId)]
    await operator.schedule(from, to, Date.now(), { jobId, owner })
    return job
  }

  const isKept = async ({ jobId }: Pick<JobRecord, 'jobId'>) =>
    (await objects.head(`jobs/${jobId}/out/1/video.mp4`)) !== undefined
  const sweeps = () => lines.filter(({ msg }) => msg === 'objects swept')
  return {
    lines,
    finished,
    isKept,
    sweeps,
    isReady: async () => parts.checks?.['clock']?.(1_000),
    /** Sets both clocks. The janitor has read the broker's when this returns. */
    async set(to: Partial<typeof shift>) {
      Object.assign(shift, to)
      await clock.readOnce()
    },
    untilRefused: async (times: number) => {
      const refused = async () =>
        Number(/deletions_refused_total(?:\{.*\})? (\d+)/.exec(await metrics.scrape())?.[1] ?? 0)
      const before = await refused()
      await until(async () => (await refused()) >= before + times, { what: 'refusals' })
    },
    untilSwept: async () => {
      const before = sweeps().length
      // The first may have begun before.
      await until(() => sweeps().length >= before + 2, { what: 'a whole sweep' })
      return sweeps().at(-1)
    },
    async stop() {
      await stopInPhases(parts.stopPhases, systemClock, log)
      await clock.stop()
      await Promise.all([bus.stop(), operator.stop(), metrics.stop()])
      objects.stop()
      await Promise.all([nats.stop(), s3.stop()])
    },
  }
}

describe('a janitor whose clock differs from the broker by more than a minute', () => {
  it.each([7 * hourMs, -7 * hourMs, minuteMs + 1_000, -minuteMs - 1_000])(
    '(%i ms) deletes nothing, says so, and makes up for it once they agree',
    async (machineAheadMs) => {
      const from = world.lines.length
      await world.set({ machineAheadMs })
      const [expired, kept] = [await world.finished(-1_000), await world.finished(6 * hourMs)]
      await world.untilRefused(4)
      expect(await world.untilSwept()).toMatchObject({ done: { expired: 0 } })
      expect([await world.isKept(expired), await world.isKept(kept)]).toEqual([true, true])
      expect(await world.isReady()).toBe(false)
      const said = world.lines.slice(from).filter(({ msg }) => String(msg).includes('is deleted'))
      expect(said.length).toBe(1)
      expect(Math.abs(Number(said[0]?.['aheadMs']) - machineAheadMs)).toBeLessThan(30_000)

      await world.set({ machineAheadMs: 0 })
      await until(async () => !(await world.isKept(expired)))
      expect([await world.isKept(kept), await world.isReady()]).toEqual([true, true])
    },
  )
})

it.each([59_000, -59_000])(
  'a janitor whose clock differs by %i ms deletes what is due, and nothing early',
  async (machineAheadMs) => {
    await world.set({ machineAheadMs })
    const [due, early] = [await world.finished(1_500), await world.finished(30_000)]
    await until(async () => !(await world.isKept(due)))
    expect(Date.now()).toBeGreaterThanOrEqual(due.expiresAtMs ?? Infinity)
    await world.untilSwept()
    expect([await world.isKept(early), await world.isReady()]).toEqual([true, true])
  },
)

// The last test of this file: the doubt outlasts it.
it('deletes nothing for an hour after the clock of the broker has jumped, even if its own jumps too', async () => {
  await world.set({ machineAheadMs: 0 })
  const kept = await world.finished(6 * hourMs)
  await world.set({ machineAheadMs: 7 * hourMs, brokerAheadMs: 7 * hourMs })
  await world.untilRefused(2)
  expect(await world.untilSwept()).toMatchObject({ done: { expired: 0 } })
  await world.set({ machineAheadMs: 0, brokerAheadMs: 0 })
  await world.untilSwept()
  expect([await world.isKept(kept), await world.isReady()]).toEqual([true, true])
})
