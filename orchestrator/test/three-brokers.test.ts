import { randomUUID } from 'node:crypto'
import { createTestCluster, type TestCluster } from '@avatar/backing-services/testing'
import { type JobRecord, jobKey } from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import { factOf, plainEvent, publishEvent } from '@avatar/job-kit'
import { AppError, systemClock } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { createWorld, type Orchestrator, type World } from './world.ts'

const kills = Number(process.env['BROKER_KILLS'] || 2)
const partitions = Number(process.env['BROKER_PARTITIONS'] || 1)
const partitionMs = 1000 * Number(process.env['BROKER_PARTITION_SECONDS'] || 5)
/** The REST door waits for so long, and then answers 503 with Retry-After. */
const atDoorMs = 2_000
/** A client sends its next job after this, or the refused one again, as Retry-After says. */
const againMs = 500
/** A look-up, a record and an event wait for two seconds each; an answer that hangs waits for ever. */
const answeredWithinMs = 60_000
/** An election takes seconds. Whoever never finds the new leader waits for ever. */
const normalAgainWithinMs = 90_000
const streamsOfJobs = ['EVENTS', 'KV_job'] as const

let cluster: TestCluster
let world: World
let orchestrator: Orchestrator
beforeAll(async () => {
  cluster = await createTestCluster()
  const broker = { nats: cluster, replicas: 3 }
  // The worker here sends no heartbeats. It has a job in hand until it has told that the video is there.
  world = await createWorld({ broker, divisor: 4, silentAfterMs: 30_000 })
  orchestrator = await world.startOrchestrator(systemClock, { heldBack: () => undefined })
})
afterAll(async () => {
  await orchestrator?.stop()
  await world?.stop()
})

it(
  'three brokers lose nothing and go on while a leader dies or is cut off',
  async () => {
    const load = startLoad()
    onTestFinished(() => load.abandon())
    const recoveries: number[] = []
    await until(() => load.completed() >= 3, { what: 'work under way' })
    for (let nth = 0; nth < kills; nth++) {
      const leader = await leaderOf(nth)
      await cluster.killNode(leader)
      recoveries.push(await load.untilNormal())
      await cluster.startNode(leader)
    }
    for (let nth = 0; nth < partitions; nth++) {
      await cluster.partition(await leaderOf(nth))
      await systemClock.wait(partitionMs) // It shall last that long; there is nothing to wait for.
      cluster.heal()
      recoveries.push(await load.untilNormal())
    }
    const { accepted, refusals, slowestMs } = await load.stopSubmitting()
    for (const job of accepted) await endsOnce(job)
    await load.stop()
    const worst = Math.max(...recoveries)
    console.log(
      `three brokers: ${accepted.length} jobs through ${kills} deaths of a leader and ${partitions} ` +
        `partitions, ${refusals} refusals, each answer within ${seconds(slowestMs)} s, ` +
        `normal again after ${seconds(medianOf(recoveries))} s in the middle and ${seconds(worst)} s at most`,
    )
    expect(accepted.length).toBeGreaterThan(kills + partitions)
    expect(worst).toBeLessThan(normalAgainWithinMs)
    expect(slowestMs).toBeLessThan(answeredWithinMs)
  },
  40 * 60_000,
)

const seconds = (ms: number) => (ms / 1000).toFixed(1)

const medianOf = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

const leaderOf = (nth: number) => {
  const stream = streamsOfJobs[nth % streamsOfJobs.length] ?? 'EVENTS'
  return until(() => cluster.leaderOf(stream), { what: `a leader of ${stream}` })
}

/** The job completes, and that is told once. What became of it otherwise is in the error. */
async function endsOnce(job: JobRecord) {
  const ended = await world.reaches(job, 'completed', 120_000).catch(async (cause) => {
    const record = await world.record(job).catch(() => 'not read')
    const about = { record, lines: orchestrator.linesAbout(job) }
    throw new Error(`${job.jobId} was lost: ${JSON.stringify(about)}`, { cause })
  })
  expect(ended.jobId).toBe(job.jobId)
  const told = async () => {
    const facts = await endsOf(job).catch(() => [])
    return facts.length > 0 && facts
  }
  // The record is written before the event is published.
  const facts = await until(told, { what: `the event that ends ${job.jobId}` })
  expect(facts, job.jobId).toEqual(['job.completed'])
}

async function endsOf({ jobId }: JobRecord): Promise<string[]> {
  const facts = await world.operator.readStream('EVENTS', `evt.*.*.${jobId}`, 1, 100)
  const types = facts.map(({ subject }) => subject.split('.').slice(1, 3).join('.'))
  return types.filter((type) => /^job\.(completed|failed|cancelled)$/.test(type))
}

/** Submits one job after the other, as ingest does, and works on them. */
function startLoad() {
  const accepted: JobRecord[] = []
  let refusals = 0
  let slowestMs = 0
  let completed = 0
  let isOver = false
  let isDone = false

  /** @throws AppError BROKER_UNAVAILABLE, which the REST door answers with 503 and Retry-After */
  async function admit(job: JobRecord) {
    const key = jobKey(job.owner, job.jobId)
    if (!(await world.records.find(key))) await world.records.create(key, job)
    const event = plainEvent('job.submitted', factOf(job, 1, Date.now()))
    const { traceparent } = job
    await publishEvent(world.operator, event, { traceparent, timeoutMs: atDoorMs })
  }

  async function submit() {
    let job: JobRecord | undefined
    while (!isOver) {
      job ??= aJob({ jobId: randomUUID(), state: 'pending', createdAtMs: Date.now() })
      const sentAtMs = performance.now()
      const refusal = await admit(job).then(
        () => undefined,
        (error: unknown) => error,
      )
      slowestMs = Math.max(slowestMs, performance.now() - sentAtMs)
      if (refusal !== undefined) {
        expect(refusal).toBeInstanceOf(AppError)
        expect(refusal).toMatchObject({ code: 'BROKER_UNAVAILABLE' })
        refusals++
      } else {
        accepted.push(job)
        job = undefined
      }
      await systemClock.wait(againMs)
    }
  }

  async function work() {
    const worker = await world.createWorker()
    // A worker keeps the name until it has brought a job: an answer that was lost is given again.
    let name = randomUUID()
    while (!isDone) {
      const order = await worker.asks({ name }).catch(() => undefined)
      if (order?.answer === 'render') {
        name = randomUUID()
        const job = aJob({ jobId: order.jobId, owner: order.owner, frames: order.frames })
        await worker.upload(job, order.epoch)
        await worker.completes(job, order.epoch)
        completed++
      }
    }
  }

  const submitting = submit()
  const working = work()
  const failing = new Promise<never>((_, fail) => {
    for (const part of [submitting, working]) part.catch(fail)
  })
  return {
    completed: () => completed,
    /** How long it takes until a job that is submitted from now on is accepted, and another completed. */
    async untilNormal(): Promise<number> {
      const sinceMs = performance.now()
      const before = { accepted: accepted.length, completed }
      const isNormal = () => accepted.length > before.accepted + 1 && completed > before.completed
      await Promise.race([until(isNormal, { what: 'work that goes on' }), failing])
      return performance.now() - sinceMs
    },
    /** The worker goes on: what is accepted has to be completed. */
    async stopSubmitting() {
      isOver = true
      await submitting
      return { accepted, refusals, slowestMs }
    },
    async stop() {
      isDone = true
      await working
    },
    /** Nothing waits for it, whatever became of it. */
    abandon() {
      isOver = true
      isDone = true
    },
  }
}
