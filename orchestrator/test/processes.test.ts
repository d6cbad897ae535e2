import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { type JobRecord, jobKey, scaledTimings, subjects } from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import { until } from '@avatar/service-kit/testing'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { createWorld, type World } from './world.ts'

const main = join(import.meta.dirname, '../src/main.ts')
/** Short enough for a test, and still longer than a busy machine makes a process wait. */
const divisor = 2

let world: World
const children = new Set<ChildProcess>()

beforeAll(async () => {
  world = await createWorld({ divisor })
})
beforeEach(async () => {
  await world.raw.manager.streams.purge('KV_job')
})
afterEach(async () => {
  for (const child of children) await kill(child)
})
afterAll(() => world.stop())

/** An orchestrator in a process of its own. */
function start(): ChildProcess {
  const child = spawn(process.execPath, [main], {
    env: {
      ...process.env,
      ...world.environment,
      ...{ TIMINGS_DIVISOR: String(divisor), LOG_LEVEL: 'silent' },
    },
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  children.add(child)
  return child
}

async function kill(child: ChildProcess) {
  children.delete(child)
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}

/** Jobs of two owners that wait, each created after the one before. */
async function queueUp(count: number): Promise<JobRecord[]> {
  const createdAtMs = Date.now()
  const jobs = Array.from({ length: count }, (_, index) =>
    aJob({
      jobId: randomUUID(),
      owner: index % 2 === 0 ? 'o_evenevenevee' : 'o_oddoddoddodd',
      createdAtMs: createdAtMs + index,
    }),
  )
  for (let from = 0; from < count; from += 200) {
    const batch = jobs.slice(from, from + 200)
    await Promise.all(batch.map((job) => world.records.create(jobKey(job.owner, job.jobId), job)))
  }
  return jobs
}

const claimsOf = async () =>
  (await world.records.list()).filter(({ state }) => state === 'claimed').map(({ jobId }) => jobId)

it('a restarted one gives what was claimed to the same ask, and goes on in the order from before', async () => {
  const jobs = await queueUp(2_000)
  const worker = await world.createWorker()
  const next = async (name: string = randomUUID()) => {
    const answer = await worker.asks({ name })
    if (answer.answer !== 'render') throw new Error(answer.answer)
    return answer
  }
  // While nobody listens the broker says so at once.
  const asked = world.raw.connection.request(subjects.next('local'), '{}', { timeout: 30_000 })
  await expect(asked).rejects.toThrow('no responders')

  const first = start()
  const given = [await next(), await next(), await next('lost')]
  await kill(first)
  start()
  expect(await next('lost')).toMatchObject({ jobId: given[2]?.jobId, epoch: 1 })
  given.push(await next(), await next())
  expect(given.map(({ jobId }) => jobId)).toEqual(jobs.slice(0, 5).map(({ jobId }) => jobId))
  expect((await claimsOf()).toSorted()).toEqual(given.map(({ jobId }) => jobId).toSorted())
  const turns = await Promise.all(
    jobs.slice(0, 6).map(async (job) => (await world.record(job))?.turn),
  )
  // By the pace of the worker that claimed it, not by the estimate at the door.
  const seconds = turns[0]?.seconds ?? 0
  expect(seconds).toBeGreaterThan(0)
  expect(turns.map((turn) => turn?.start)).toEqual([
    ...[0, 0, seconds, seconds, 2 * seconds, undefined],
  ])
})

it('one that was stopped for a while claims no job for the asks that it finds then', async () => {
  const child = start()
  const worker = await world.createWorker()
  await worker.asks()
  child.kill('SIGSTOP')
  const unread = Array.from({ length: 40 }, () => worker.ask({ waitMs: 100 }))
  expect(await Promise.all(unread)).toEqual(unread.map(() => undefined))
  const jobs = await queueUp(40)
  const sinceMs = performance.now()
  const { suspendedAfterMs } = scaledTimings(divisor)
  await until(() => performance.now() - sinceMs > 2 * suspendedAfterMs)
  child.kill('SIGCONT')
  const answer = await worker.asks()
  expect(answer).toMatchObject({ answer: 'render', jobId: jobs[0]?.jobId })
  expect(await claimsOf()).toEqual([jobs[0]?.jobId])
})
