import { randomUUID } from 'node:crypto'
import { provisionBroker } from '@avatar/backing-services'
import { createTestNats } from '@avatar/backing-services/testing'
import {
  dayOf,
  type JobPosting,
  postingsOfOwner,
  scaledTimings,
  streams,
  subjects,
  type WorkerPosting,
} from '@avatar/contracts'
import { aJobPosting, aWorkerPosting } from '@avatar/contracts/testing'
import { type Bus, type Clock, createLog, systemClock } from '@avatar/service-kit'
import { handClock, itKeepsTheRunnableContract, until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { followLedger, type LedgerReader } from '../src/index.ts'

let nats: Awaited<ReturnType<typeof createTestNats>>
let bus: Bus
/** A service's own connection: the reader needs no more rights than it has. */
let readers: Bus

beforeAll(async () => {
  nats = await createTestNats()
  await nats.start()
  await provisionBroker(nats.operator, scaledTimings(1))
  bus = await nats.connectAs('operator')
  readers = await nats.connectAs('ingest')
})

afterAll(async () => {
  await Promise.all([bus.stop(), readers.stop()])
  await nats.stop()
})

beforeEach(async () => {
  await bus.purge(streams.LEDGER.name, 'ledger.>')
})

const alice = 'o_abcDEF123456'
const today = dayOf(Date.now())
const month = today.slice(0, 7)

function postJob(difference: Partial<JobPosting> = {}, day = today) {
  const posting = aJobPosting({ jobId: randomUUID(), ...difference })
  const subject = subjects.jobPosting(day, posting.owner, posting.jobId)
  return bus.publish(subject, posting, { lastSequence: 0 })
}

function postWorker(difference: Partial<WorkerPosting>, day = today) {
  const posting = aWorkerPosting(difference)
  const { workerId, incarnation } = posting
  return bus.publish(subjects.workerPosting(day, workerId, incarnation), posting)
}

async function started(clock: Clock = systemClock): Promise<LedgerReader> {
  const reader = followLedger({ bus: readers, clock, log: createLog('test', 'silent') })
  await reader.start()
  await until(() => reader.isReady?.(), { what: 'the reader to be current' })
  return reader
}

const secondsOf = (reader: LedgerReader, owner = alice, period = month) =>
  reader.usage().chargedTo(owner, period).gpuSeconds

describe('a reader of the ledger', () => {
  itKeepsTheRunnableContract(() => {
    const reader = followLedger({
      bus: readers,
      clock: systemClock,
      log: createLog('test', 'silent'),
    })
    return { runnable: reader, atWork: () => (reader.isReady?.() ? 1 : 0) }
  })

  it('is current once it has everything that was there, and follows what comes', async () => {
    await postJob()
    await postJob({ owner: 'acme' })
    const reader = await started()
    expect(secondsOf(reader)).toBe(10)
    expect(reader.usage().spentOn(today).gpuSeconds).toBe(20)
    await postJob()
    await until(() => secondsOf(reader) === 20)
    await reader.stop()
  })

  it('counts the first posting of a job alone, and the latest of a worker', async () => {
    const jobId = randomUUID()
    expect(await postJob({ jobId })).toBe('stored')
    expect(await postJob({ jobId })).toBe('exists')
    await postWorker({ idleSeconds: 5 })
    await postWorker({ idleSeconds: 7 })
    const reader = await started()
    expect(reader.usage().spentOn(today).gpuSeconds).toBe(10 + 7)
    expect((await bus.streamState(streams.LEDGER.name)).messages).toBe(2)
    await reader.stop()
  })

  it('leaves out what follows no schema', async () => {
    await bus.publish(subjects.jobPosting(today, alice, randomUUID()), { jobId: 'nonsense' })
    await postJob()
    const reader = await started()
    expect(secondsOf(reader)).toBe(10)
    await reader.stop()
  })

  it('has the same sums when it is cut off from the broker in mid-month', async () => {
    await postJob()
    const reader = await started()
    await nats.kill()
    await until(() => !reader.isReady?.(), { what: 'the reader to notice' })
    expect(secondsOf(reader)).toBe(10)
    await nats.start()
    await postJob()
    await postWorker({ idleSeconds: 5 })
    await until(() => secondsOf(reader) === 20 && reader.isReady?.())
    const fresh = await started()
    for (const period of [today, month])
      expect(reader.usage().chargedTo(alice, period)).toEqual(
        fresh.usage().chargedTo(alice, period),
      )
    await until(() => reader.usage().spentOn(today).gpuSeconds === 25)
    expect(fresh.usage().spentOn(today)).toEqual(reader.usage().spentOn(today))
    await Promise.all([reader.stop(), fresh.stop()])
  })

  it('turns to the next month when it begins, without a moment of doubt', async () => {
    await postJob({}, '2031-01-31')
    await postWorker({ idleSeconds: 100 }, '2031-01-31')
    const hand = handClock()
    let nowMs = Date.parse('2031-01-31T23:59:00Z')
    const reader = await started({ ...hand.clock, nowMs: () => nowMs })
    expect(secondsOf(reader, alice, '2031-01')).toBe(10)
    await postJob({}, '2031-02-01')
    await postWorker({ idleSeconds: 130 }, '2031-02-01')
    nowMs = Date.parse('2031-02-01T00:00:00Z')
    await until(() => {
      for (const wait of hand.waits) wait.end()
      expect(reader.isReady?.()).toBe(true)
      return secondsOf(reader, alice, '2031-02') === 10
    })
    await until(() => reader.usage().spentOn('2031-02-01').gpuSeconds === 10 + 30)
    await reader.stop()
  })

  it('finds nothing of an owner whose postings were purged, and all of the others', async () => {
    await postJob()
    await postJob({ owner: 'acme' })
    await bus.purge(streams.LEDGER.name, postingsOfOwner(alice))
    const reader = await started()
    expect([secondsOf(reader), secondsOf(reader, 'acme')]).toEqual([0, 10])
    await reader.stop()
  })
})
