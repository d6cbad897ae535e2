import { createFairOrder, jobKey } from '@avatar/contracts'
import { createLog, systemClock } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createLiveJobs } from '../src/records/live-jobs.ts'
import { createWorld, type World } from './world.ts'

let world: World
beforeAll(async () => {
  world = await createWorld()
})
afterAll(() => world.stop())

const worker = { id: 'w1', incarnation: 'i1', ask: 'a1' }

/** The view, started and current, and how often it has changed since. */
async function someLiveJobs() {
  const order = createFairOrder({
    ...{ headStartSeconds: 60, shareOf: () => 1, heldBack: () => undefined },
  })
  const log = createLog('test', 'silent')
  const liveJobs = createLiveJobs({ records: world.records, clock: systemClock, log, order })
  await liveJobs.start()
  await until(() => liveJobs.isReady?.())
  const changes = { count: 0 }
  liveJobs.whenChanged(() => changes.count++)
  return { liveJobs, changes }
}

/** A job, and how it is written as claimed, after which it has the returned revision. */
async function aJobToClaim() {
  const job = await world.submit({ announce: false, state: 'queued' })
  const key = jobKey(job.owner, job.jobId)
  const claimed = { ...job, state: 'claimed' as const, epoch: 1, worker }
  const claim = async () => {
    const found = await world.records.find(key)
    const revision = await world.records.update(key, claimed, found?.revision ?? 0)
    if (revision === 'conflict') throw new Error('somebody else wrote the record')
    return revision
  }
  return { ...claimed, claim }
}

it('a record that this process has noted is taken in once, and one that another wrote when the watch tells it', async () => {
  const { claim: claimOwn, ...own } = await aJobToClaim()
  const { claim: claimOther, ...other } = await aJobToClaim()
  const { liveJobs, changes } = await someLiveJobs()
  const revision = await claimOwn()
  liveJobs.note(own, revision)
  const before = changes.count
  const later = await claimOther()
  await until(() => liveJobs.seenUpTo() === later)
  expect(changes.count - before).toBe(1)
  expect(liveJobs.findInHand(own.jobId)).toEqual({ value: own, revision })
  expect(liveJobs.findInHand(other.jobId)).toEqual({ value: other, revision: later })
  await liveJobs.stop()
})

it('a record whose attempt is over is kept whole no longer', async () => {
  const { claim, ...job } = await aJobToClaim()
  const { liveJobs } = await someLiveJobs()
  const revision = await claim()
  liveJobs.note(job, revision)
  liveJobs.note({ ...job, state: 'completed' }, revision + 1)
  expect(liveJobs.findInHand(job.jobId)).toBeUndefined()
  await liveJobs.stop()
})
