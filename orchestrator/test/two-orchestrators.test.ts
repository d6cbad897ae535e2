import { randomUUID } from 'node:crypto'
import { type JobRecord, jobKey } from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import { type Clock, systemClock } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { createWorld, type Orchestrator, type World } from './world.ts'

const patienceMs = 20_000
const everybody = { heldBack: () => undefined }

let world: World
const running: Orchestrator[] = []
beforeAll(async () => {
  // No worker here sends heartbeats, and none of its attempts shall be lost for that.
  world = await createWorld({ watchGraceMs: 600_000 })
})
afterEach(async () => {
  for (const orchestrator of running.splice(0)) await orchestrator.stop()
  await cancelAll()
})
afterAll(() => world.stop())

async function start(
  machine?: Clock,
  rules: Parameters<World['startOrchestrator']>[1] = everybody,
) {
  const orchestrator = await world.startOrchestrator(machine, rules)
  running.push(orchestrator)
  await until(orchestrator.isReady, { what: 'an orchestrator that listens' })
  return orchestrator
}

let jobs: JobRecord[] = []

/** Jobs that wait, each created after the one before. */
async function queueUp(count: number, difference: Partial<JobRecord> = {}): Promise<JobRecord[]> {
  const createdAtMs = Date.now()
  const made = Array.from({ length: count }, (_, index) =>
    aJob({ jobId: randomUUID(), createdAtMs: createdAtMs + index, ...difference }),
  )
  for (const job of made) await world.records.create(jobKey(job.owner, job.jobId), job)
  jobs.push(...made)
  return made
}

async function cancelAll() {
  for (const job of jobs) {
    const key = jobKey(job.owner, job.jobId)
    const found = await world.records.find(key)
    if (found) await world.records.update(key, { ...found.value, state: 'failed' }, found.revision)
  }
  jobs = []
}

const claimedOf = async (some: JobRecord[]) => {
  const records = await Promise.all(some.map((job) => world.record(job)))
  return records.filter((record) => record?.state === 'claimed')
}

it('both asked at once for one job make one claim', async () => {
  await Promise.all([start(), start()])
  const workers = await Promise.all(['w1', 'w2', 'w3', 'w4'].map((id) => world.createWorker(id)))
  for (let round = 0; round < 10; round++) {
    const asks = workers.map((worker) => worker.ask({ waitMs: 300 }))
    const [job] = await queueUp(1)
    if (!job) throw new Error('no job')
    const answers = await Promise.all(asks)
    const orders = answers.filter((answer) => answer?.answer === 'render')
    expect(orders).toEqual([expect.objectContaining({ jobId: job.jobId, epoch: 1 })])
    expect((await world.record(job))?.epoch).toBe(1)
  }
})

it('give many workers every job once, in the order of their creation', async () => {
  await Promise.all([start(), start()])
  const waiting = await queueUp(60)
  const given: string[] = []
  const works = async (id: string) => {
    const worker = await world.createWorker(id)
    for (;;) {
      const answer = await worker.asks()
      if (answer.answer === 'none') return
      given.push(answer.jobId)
    }
  }
  await Promise.all(['w1', 'w2', 'w3', 'w4', 'w5', 'w6'].map(works))
  expect(given.toSorted()).toEqual(waiting.map(({ jobId }) => jobId).toSorted())
  const claimed = await claimedOf(waiting)
  expect(claimed.map((record) => record?.epoch)).toEqual(waiting.map(() => 1))
  const starts = claimed.map((record) => record?.turn?.start ?? -1)
  expect(starts).toEqual(starts.toSorted((a, b) => a - b))
})

it('give an answer that was lost again, whichever of them is asked', async () => {
  const first = await start()
  const [job] = await queueUp(1)
  if (!job) throw new Error('no job')
  const worker = await world.createWorker()
  const order = await worker.asks({ name: 'lost' })
  expect(order).toMatchObject({ jobId: job.jobId, epoch: 1 })
  await first.stop()
  running.splice(0)
  await start()
  expect(await worker.asks({ name: 'lost' })).toMatchObject({ jobId: job.jobId, epoch: 1 })
  expect(await worker.asks({ name: 'another' })).toEqual({ answer: 'none' })
})

it('claim nothing for asks from before a suspension', async () => {
  const shift = { ms: 0 }
  const machine = { ...systemClock, monotonicMs: () => performance.now() + shift.ms }
  const orchestrator = await start(machine)
  const worker = await world.createWorker()
  await until(async () => (await worker.ask({ isIdle: false })) !== undefined)
  const parked = worker.ask({ waitMs: 2_000 })
  await worker.bus.ping(1_000)
  shift.ms += world.timings.suspendedAfterMs + 1_000
  await until(() => orchestrator.lines().some(({ msg }) => String(msg).startsWith('suspended')))
  const [job] = await queueUp(1)
  expect(await parked).toBeUndefined()
  expect(await claimedOf(jobs)).toEqual([])
  expect(await worker.asks()).toMatchObject({ jobId: job?.jobId, epoch: 1 })
})

it('start none of an owner that is at its cap, until one of its jobs has ended', async () => {
  const heldBack = (owner: string, runningJobs: number) =>
    owner === 'o_capped000000' && runningJobs >= 1 ? ('own_jobs' as const) : undefined
  await start(systemClock, { heldBack })
  const [one] = await queueUp(2, { owner: 'o_capped000000' })
  if (!one) throw new Error('no job')
  const worker = await world.createWorker()
  expect(await worker.asks()).toMatchObject({ answer: 'render', jobId: one.jobId })
  expect(await worker.asks()).toEqual({ answer: 'none' })
  const asking = worker.ask({ waitMs: patienceMs })
  await worker.reports('failed', one, 1)
  expect(await asking).toMatchObject({ answer: 'render', jobId: one.jobId, epoch: 2 })
})
