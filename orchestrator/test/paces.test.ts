import { type JobRecord, type Pace, paceKeyOf, type StartPace, type Used } from '@avatar/contracts'
import { openPaces, type PaceRecords } from '@avatar/job-kit'
import { until } from '@avatar/service-kit/testing'
import { beforeAll, describe, expect, it } from 'vitest'
import { inOneWorld, type Orchestrator, type World } from './world.ts'

let world: World
let orchestrator: Orchestrator
let records: PaceRecords
inOneWorld((opened) => {
  world = opened.world
  orchestrator = opened.orchestrator
})
beforeAll(async () => {
  records = await openPaces(world.operator)
})

const usedOn = (device: string): Used => ({
  ...{ gpuSeconds: 20, engine: 'preview', size: '720p', device },
  ...{ framesPerChunk: 25, secondsPerVideoSecond: 5 },
})
const paceOf = async (device: string) =>
  (await records.find(paceKeyOf({ engine: 'preview', size: '720p', device })))?.value as
    | Pace
    | undefined

/** A job that a worker has rendered and told the end of, in every way that matters here. */
async function rendered(
  used: Used,
  { degraded = false, told }: { degraded?: boolean; told?: JobRecord['told'] } = {},
) {
  const { worker, job } = await world.rendering(told ? { told } : {})
  await worker.upload(job, 1)
  const complete = () => worker.completes(job, 1, { degraded }, used)
  await complete()
  await world.reaches(job, 'completed')
  return { job, complete }
}

describe('a finished render', () => {
  it('is learned from once, and not by its redelivery', async () => {
    const { complete } = await rendered(usedOn('once'))
    const learned = await until(() => paceOf('once'), { what: 'a learned pace' })
    expect(learned).toMatchObject({ samples: 1, framesPerChunk: 25, secondsPerVideoSecond: 5 })
    expect(learned.storingSeconds).toBeLessThan(60)
    await world.forgetMessageIds('EVENTS')
    await complete()
    await world.isIdle('storage')
    expect(await paceOf('once')).toEqual(learned)
  })

  it('teaches nothing when it was degraded, resumed, or never told its start', async () => {
    await rendered(usedOn('none'), { degraded: true })
    await rendered({ ...usedOn('none'), isResumed: true })
    const { worker, job } = await world.claimed()
    await worker.upload(job, 1)
    await worker.completes(job, 1, {}, usedOn('none'))
    await world.reaches(job, 'completed')
    await world.isIdle('storage')
    expect(await paceOf('none')).toBeUndefined()
  })

  it('is compared with what was expected at its claim, and with what its client was told', async () => {
    const measured = async (of: string) => {
      const count = new RegExp(`estimate_error_ratio_count\\{of="${of}"\\} (\\d+)`)
      return Number(count.exec(await orchestrator.metrics.scrape())?.[1] ?? 0)
    }
    const [renders, finishes] = [await measured('render'), await measured('finish')]
    await rendered(usedOn('compared'), { told: { renderSeconds: 19, completesAtMs: Date.now() } })
    expect(await measured('render')).toBe(renders + 1)
    expect(await measured('finish')).toBe(finishes + 1)
  })
})

describe('a claim', () => {
  it('expects of a worker what was learned of its like, once it was heard', async () => {
    await rendered(usedOn('learned'))
    const worker = await world.createWorker('told', 'i1')
    const paceKey = { engine: 'preview', size: '720p', device: 'learned', framesPerChunk: 25 }
    worker.sendsHeartbeat([], { state: 'ready', paceKey })
    await worker.bus.ping(1_000)
    // The pace reaches the orchestrator a moment after the job is done.
    await until(
      async () => {
        const job = await world.queued()
        await worker.takes(job)
        const claimed = await world.record(job)
        if (claimed?.estimatedSeconds !== 20) return false
        expect(claimed.turn?.seconds).toBe(20)
        return true
      },
      { what: 'a claim by the learned pace' },
    )
  })
})

describe('a cold start', () => {
  it('is learned for its pool when the worker is ready', async () => {
    const worker = await world.createWorker('starting', 'i1')
    const spent = { idleSeconds: 0, renderingSeconds: 0 }
    worker.sendsHeartbeat([], {
      ...{ state: 'loading', pool: 'h100', time: { loadingSeconds: 1, ...spent } },
    })
    worker.sendsHeartbeat([], {
      ...{ state: 'ready', pool: 'h100', time: { loadingSeconds: 42, ...spent } },
    })
    const found = await until(() => records.find('start.h100'), { what: 'a learned start' })
    expect(found.value).toEqual<StartPace>({ samples: 1, seconds: 42, recent: [42] })
  })
})
