import { type JobRecord, jobKey } from '@avatar/contracts'
import type { JobRecords } from '@avatar/job-kit'
import { systemClock, type Versioned } from '@avatar/service-kit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createJobWriter } from '../src/records/job-writer.ts'
import type { Claim } from '../src/states/decide.ts'
import { createWorld, type World } from './world.ts'

let world: World
beforeAll(async () => {
  world = await createWorld()
})
afterAll(() => world.stop())

const claimUnder = (ask: string): Claim => ({
  ...{ kind: 'claim', workerId: 'w1', incarnation: 'i1', ask, pool: 'l40s', priceMicros: 530 },
  ...{ turn: { start: 0, seconds: 8 }, estimatedSeconds: 4 },
})

/** A writer, and what it told of its writes. */
function writerOf(
  records: JobRecords,
  findKnown: () => Versioned<JobRecord> | undefined = () => undefined,
) {
  const told: [state: string, revision: number][] = []
  const writer = createJobWriter({
    ...{ records, clock: systemClock, findKnown },
    rules: { retentionMs: 60_000, minDeadlineSeconds: 600, timings: world.timings },
    onWrite: ({ state }, revision) => void told.push([state, revision]),
  })
  return { writer, told }
}

const aQueuedJob = () => world.submit({ announce: false, state: 'queued' })
const always = () => true

describe('a claim', () => {
  it('is written once and told at once', async () => {
    const { writer, told } = writerOf(world.records)
    const job = await aQueuedJob()
    const claimed = await writer.claim(job, claimUnder('a1'), always)
    expect(claimed).toMatchObject({ outcome: 'claimed', job: { epoch: 1, worker: { ask: 'a1' } } })
    const found = await writer.find(job.owner, job.jobId)
    expect(told).toEqual([['claimed', found?.revision]])
  })

  it('is not written for an ask to which nobody reads an answer any more', async () => {
    const { writer } = writerOf(world.records)
    const job = await aQueuedJob()
    expect(await writer.claim(job, claimUnder('a1'), () => false)).toEqual({ outcome: 'unawaited' })
    expect((await world.record(job))?.state).toBe('queued')
  })

  it('that lost against itself, because the reply was lost, is answered', async () => {
    const update: JobRecords['update'] = async (...write) => {
      await world.records.update(...write)
      return world.records.update(...write)
    }
    const { writer, told } = writerOf({ ...world.records, update })
    const job = await aQueuedJob()
    expect(await writer.claim(job, claimUnder('a1'), always)).toMatchObject({
      ...{ outcome: 'claimed', job: { epoch: 1 } },
    })
    expect(told).toHaveLength(1)
  })

  it('that lost against another ask is not tried again, and tells the newer record', async () => {
    const first = writerOf(world.records).writer
    const job = await aQueuedJob()
    let writes = 0
    const update: JobRecords['update'] = async (...write) => {
      writes++
      await first.claim(job, claimUnder('faster'), always)
      return world.records.update(...write)
    }
    const { writer, told } = writerOf({ ...world.records, update })
    expect(await writer.claim(job, claimUnder('a1'), always)).toMatchObject({
      ...{ outcome: 'passed', found: { value: { epoch: 1, worker: { ask: 'faster' } } } },
    })
    expect([writes, told]).toEqual([1, []])
  })

  it('of a job whose record is gone passes it by', async () => {
    const { writer } = writerOf(world.records)
    const gone = { owner: 'acme', jobId: '00000000-0000-4000-8000-00000000000b' }
    expect(await writer.claim(gone, claimUnder('a1'), always)).toEqual({ outcome: 'passed' })
  })
})

describe('a message applied to a record that is known', () => {
  const cancel = { kind: 'cancel-requested' } as const

  it('reads nothing while the record is as known, and reads again when it is not', async () => {
    let reads = 0
    const find: JobRecords['find'] = async (key) => {
      reads++
      return world.records.find(key)
    }
    const job = await aQueuedJob()
    const known = await world.records.find(jobKey(job.owner, job.jobId))
    const { writer } = writerOf({ ...world.records, find }, () => known)
    const ended = await writer.apply(job.owner, job.jobId, cancel)
    expect([ended?.value.state, reads]).toEqual(['cancelled', 0])
    const again = await writer.apply(job.owner, job.jobId, cancel)
    expect([again?.value.state, again?.changed, reads]).toEqual(['cancelled', false, 1])
  })
})
