import { randomUUID } from 'node:crypto'
import { type AnyEvent, type JobRecord, outputKey, subjects } from '@avatar/contracts'
import { aJob, anEvent } from '@avatar/contracts/testing'
import { factOf, plainEvent } from '@avatar/job-kit'
import type { Bus } from '@avatar/service-kit'
import { seededRandom, until } from '@avatar/service-kit/testing'
import { expect, it } from 'vitest'
import { renderOf } from './hand-worker.ts'
import { inOneWorld, type World } from './world.ts'

/** So many messages are sent in all. */
const messages = Number(process.env['DUPLICATE_MESSAGES'] || 200)
/** A night's messages take longer than a test usually may. */
const testTimeoutMs = 480_000 + messages * 60
const seed = Number(process.env['DUPLICATE_SEED'] || Date.now() % 1_000_000)
const submittersAtOnce = 4
const workers = 4

let world: World
inOneWorld(
  (opened) => {
    world = opened.world
  },
  // The workers here send no heartbeats, and none of their attempts shall be lost for that.
  { rules: { heldBack: () => undefined }, watchGraceMs: 6_000_000 },
)

const random = seededRandom(seed)
let sent = 0
/** Messages about a job that come once more when it has ended. */
const late = new Map<string, (() => Promise<void>)[]>()
/** How often a worker was ordered to render each job. */
const orders = new Map<string, number>()

/** Sends an event two to five times, some of them late. The stream takes each for another message. */
async function sendCopies(bus: Bus, event: AnyEvent) {
  const send = async () => {
    sent++
    const messageId = randomUUID()
    const { traceparent } = aJob()
    await bus.publish(subjects.event(event.type, event.jobId), event, { messageId, traceparent })
  }
  const copies = 2 + random(4)
  const lateCopies = random(copies)
  const waiting = late.get(event.jobId) ?? []
  late.set(event.jobId, [...waiting, ...Array.from({ length: lateCopies }, () => send)])
  await Promise.all(Array.from({ length: copies - lateCopies }, send))
}

/** Sends what was kept back about a job that has ended. */
async function sendLate({ jobId }: JobRecord) {
  await Promise.all((late.get(jobId) ?? []).map((send) => send()))
}

async function submitUntilEnough(jobs: JobRecord[]) {
  while (sent < messages) {
    const job = await world.submit({ announce: false })
    jobs.push(job)
    await sendCopies(world.operator, plainEvent('job.submitted', factOf(job, 1, Date.now())))
    await world.reaches(job, 'completed', testTimeoutMs)
    await sendLate(job)
  }
}

async function work(workerId: string, isDone: () => boolean) {
  const worker = await world.createWorker(workerId)
  while (!isDone()) {
    const order = await worker.asks()
    if (order.answer !== 'render') continue
    const { jobId, owner, epoch } = order
    orders.set(jobId, (orders.get(jobId) ?? 0) + 1)
    const about = { jobId, owner, epoch, revision: 0, atMs: Date.now(), workerId }
    await sendCopies(worker.bus, anEvent('render.started', about))
    const job = aJob({ jobId, owner, frames: order.frames })
    await worker.upload(job, epoch)
    const rendered = renderOf(job, epoch, { key: outputKey(jobId, epoch) })
    await sendCopies(worker.bus, anEvent('render.completed', { ...about, rendered }))
  }
}

it(
  'every message two to five times, some after the end: each job is rendered and ends once',
  async () => {
    console.log(`duplicate messages: DUPLICATE_SEED=${seed}`)
    const jobs: JobRecord[] = []
    let isDone = false
    const working = Array.from({ length: workers }, (_, at) => work(`w${at}`, () => isDone))
    await Promise.all(Array.from({ length: submittersAtOnce }, () => submitUntilEnough(jobs)))
    isDone = true
    await Promise.all(working)
    await world.isIdle('orchestrator')
    await world.isIdle('storage')
    let ends = 0
    for (const job of jobs) {
      const facts = await world.operator.readStream('EVENTS', `evt.job.*.${job.jobId}`, 1, 100)
      const types = facts.map(({ subject }) => subject.split('.')[2])
      expect(types.toSorted(), job.jobId).toEqual(expectedOf(types))
      ends += types.filter((type) => type === 'completed').length
      const record = await world.record(job)
      expect(record, job.jobId).toMatchObject({
        state: 'completed',
        epoch: 1,
        spent: [{ epoch: 1 }],
      })
      expect(orders.get(job.jobId), job.jobId).toBe(1)
      const posting = await until(() => world.posting(job), { what: 'the posting' })
      expect(posting.attempts).toEqual(record?.spent)
    }
    console.log(
      `duplicate messages: ${sent} messages about ${jobs.length} jobs, ${jobs.length} renders ordered, ${ends} ends; seed ${seed}`,
    )
  },
  testTimeoutMs,
)

/**
 * What a job has that ran once, however often its submission was announced. One whose worker is done before
 * anybody has heard that it started is never said to have.
 */
function expectedOf(types: readonly (string | undefined)[]) {
  const submitted = types.filter((type) => type === 'submitted')
  expect(submitted.length).toBeGreaterThan(1)
  const started = types.includes('started') ? ['started'] : []
  return ['completed', 'queued', ...started, ...submitted].toSorted()
}
