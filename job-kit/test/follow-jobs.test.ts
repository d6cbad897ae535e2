import { randomUUID } from 'node:crypto'
import { provisionBroker } from '@avatar/backing-services'
import { createTestNats } from '@avatar/backing-services/testing'
import { jobKey, scaledTimings } from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import { type Bus, createLog, systemClock } from '@avatar/service-kit'
import { itKeepsTheRunnableContract, until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { followJobs, type JobRecords, openJobRecords } from '../src/index.ts'

let nats: Awaited<ReturnType<typeof createTestNats>>
let bus: Bus
let records: JobRecords

beforeAll(async () => {
  nats = await createTestNats()
  await nats.start()
  await provisionBroker(nats.operator, scaledTimings(1))
  bus = await nats.connectAs('operator')
  records = await openJobRecords(bus)
})

afterAll(async () => {
  await bus.stop()
  await nats.stop()
})

function follower() {
  const jobs = new Map<string, string>()
  const gone: string[] = []
  const revisions: number[] = []
  const runnable = followJobs({
    ...{ records, clock: systemClock, log: createLog('test', 'silent') },
    onJob(job, revision) {
      jobs.set(job.jobId, job.state)
      revisions.push(revision)
    },
    onGone: (jobId, owner) => void gone.push(`${owner}.${jobId}`),
  })
  return { runnable, jobs, gone, revisions }
}

describe('a view of all jobs', () => {
  itKeepsTheRunnableContract(() => {
    const { runnable } = follower()
    return { runnable, atWork: () => (runnable.isReady?.() ? 1 : 0) }
  })

  it('gets every record that was there, every change, and every deletion', async () => {
    const [first, second] = [aJob({ jobId: randomUUID() }), aJob({ jobId: randomUUID() })]
    await records.create(jobKey(first.owner, first.jobId), first)
    const { runnable, jobs, gone } = follower()
    await runnable.start()
    await until(() => runnable.isReady?.())
    expect(jobs.get(first.jobId)).toBe(first.state)
    const key = jobKey(second.owner, second.jobId)
    const revision = await records.create(key, second)
    await until(() => jobs.has(second.jobId))
    await records.update(key, { ...second, state: 'failed' }, Number(revision), { ttlMs: 1_000 })
    await until(() => jobs.get(second.jobId) === 'failed')
    await until(() => gone.includes(key))
    await runnable.stop()
  })

  it('is current again after the broker was restarted', async () => {
    const { runnable, jobs, revisions } = follower()
    await runnable.start()
    await until(() => runnable.isReady?.())
    await nats.kill()
    await nats.start()
    const job = aJob({ jobId: randomUUID() })
    await until(async () => {
      const created = await records.create(jobKey(job.owner, job.jobId), job).catch(() => undefined)
      return created !== undefined
    })
    await until(() => jobs.has(job.jobId) && runnable.isReady?.())
    await runnable.stop()
    // Nothing was read a second time.
    expect(new Set(revisions).size).toBe(revisions.length)
  })
})
