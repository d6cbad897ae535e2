import { systemClock } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { describe, expect, it } from 'vitest'
import { inOneWorld, type Orchestrator, type World } from './world.ts'

/** Longer than any wait here, so that only an answer ends an ask. */
const patienceMs = 20_000

const rules = { priceMicrosOf: (pool: string) => (pool === 'spare' ? 0 : 530) }

let world: World
let orchestrator: Orchestrator
inOneWorld(
  (opened) => {
    world = opened.world
    orchestrator = opened.orchestrator
  },
  { deathBackoffMs: 1_500, rules },
)

describe('an ask', () => {
  it('of an idle worker waits for a job and is answered when one comes', async () => {
    const worker = await world.createWorker()
    const asking = worker.ask({ waitMs: patienceMs })
    const job = await world.submit()
    world.letOnly(job.owner)
    expect(await asking).toMatchObject({ answer: 'render', jobId: job.jobId, epoch: 1 })
    expect(await world.record(job)).toMatchObject({
      state: 'claimed',
      worker: { id: 'w1', incarnation: 'i1', pool: 'l40s', priceMicros: 530 },
      // By the pace that the worker told with its ask.
      estimatedSeconds: job.audio.seconds,
      turn: { seconds: job.audio.seconds },
    })
  })

  it('brings only a job that its worker can do, and the quality decides the estimate', async () => {
    const high = await world.queued({ how: { quality: 'high', speaker: 1 } })
    world.letOnly(high.owner)
    const offers = {
      qualities: [{ quality: 'high' as const, secondsPerVideoSecond: 30 }],
      speakers: 1,
      video: false,
    }
    const usual = { quality: 'standard' as const, secondsPerVideoSecond: 3 }
    const standard = { ...offers, qualities: [usual] }
    expect(await (await world.createWorker('old')).ask()).toEqual({ answer: 'none' })
    const other = await world.createWorker('standard')
    expect(await other.ask({ offers: standard })).toEqual({ answer: 'none' })
    const able = await world.createWorker('able')
    const order = await until(async () => {
      const answer = await able.ask({ offers })
      return answer?.answer === 'render' && answer
    })
    expect(order).toMatchObject({ jobId: high.jobId, how: { quality: 'high', speaker: 1 } })
    expect(await world.record(high)).toMatchObject({ estimatedSeconds: 30 * high.audio.seconds })
  })

  it('of an idle worker is answered with none when its wait is over', async () => {
    world.letOnly('nobody')
    expect(await (await world.createWorker()).ask()).toEqual({ answer: 'none' })
  })

  it('of a busy worker is never parked', async () => {
    world.letOnly('nobody')
    const worker = await world.createWorker()
    expect(await worker.ask({ isIdle: false, waitMs: patienceMs })).toEqual({ answer: 'none' })
  })

  it('that is repeated gets the same job under the same epoch, and nobody else gets it', async () => {
    const job = await world.queued()
    const [worker, other] = [await world.createWorker('w1'), await world.createWorker('w2')]
    const order = await worker.takes(job, 'lost-answer')
    const before = await world.record(job)
    expect(await other.asks()).toEqual({ answer: 'none' })
    const again = await worker.asks({ name: 'lost-answer', waitMs: 0 })
    expect(again).toMatchObject({ answer: 'render', jobId: job.jobId, epoch: order.epoch })
    expect(await world.record(job)).toEqual(before)
  })

  it('under a name that has brought a job gets another one once that job has begun', async () => {
    const { owner } = await world.queued()
    const first = await world.queued({ owner })
    const worker = await world.createWorker()
    world.letOnly(owner)
    const taken = await until(() => worker.ask({ name: 'kept' }))
    if (taken.answer !== 'render') throw new Error(taken.answer)
    await worker.reports('started', { ...first, jobId: taken.jobId }, 1)
    await world.reaches({ ...first, jobId: taken.jobId }, 'rendering')
    const next = await until(async () => {
      const answer = await worker.ask({ name: 'kept' })
      return answer?.answer === 'render' && answer
    })
    expect(next.jobId).not.toBe(taken.jobId)
  })

  it('is answered when a back-off ends, and not before', async () => {
    const { worker, job } = await world.rendering()
    const asking = worker.ask({ waitMs: patienceMs })
    await worker.dies(job, 1)
    const { notBeforeMs = 0 } = await world.reaches(job, 'queued')
    expect(await asking).toMatchObject({ answer: 'render', jobId: job.jobId, epoch: 2 })
    expect(Date.now()).toBeGreaterThanOrEqual(notBeforeMs - 100)
  })

  it('of a cheaper pool comes first, however long the others have waited', async () => {
    world.letOnly('nobody')
    const [dear, cheap] = [await world.createWorker('dear'), await world.createWorker('cheap')]
    const dearAsk = dear.ask({ waitMs: 800 })
    await dear.bus.ping(1_000)
    const cheapAsk = cheap.ask({ pool: 'spare', waitMs: patienceMs })
    await cheap.bus.ping(1_000)
    const job = await world.submit()
    world.letOnly(job.owner)
    expect(await cheapAsk).toMatchObject({ answer: 'render', jobId: job.jobId })
    expect(await dearAsk).toEqual({ answer: 'none' })
    expect((await world.record(job))?.worker).toMatchObject({ id: 'cheap', priceMicros: 0 })
  })

  it('that is parked is answered with none when the orchestrator stops', async () => {
    world.letOnly('nobody')
    const worker = await world.createWorker()
    const asking = worker.ask({ waitMs: patienceMs })
    await worker.bus.ping(1_000)
    await until(async () => (await worker.ask({ isIdle: false })) !== undefined)
    await orchestrator.stop()
    expect(await asking).toEqual({ answer: 'none' })
    orchestrator = await world.startOrchestrator(systemClock, rules)
  })

  it('is served again after the broker was killed with asks parked', async () => {
    const worker = await world.createWorker()
    world.letOnly('nobody')
    const parked = worker.ask({ waitMs: 2_000 })
    await world.nats.kill()
    await world.nats.start()
    expect(await parked).toBeUndefined()
    const job = await until(() => world.submit().catch(() => undefined))
    expect((await worker.takes(job)).epoch).toBe(1)
  })
})

describe('the attempts of a job', () => {
  it('are booked in its record and posted with it, and the last one is charged', async () => {
    const { worker, job } = await world.rendering()
    await worker.reports('released', job, 1, { gpuSeconds: 2.5 })
    await world.reaches(job, 'queued')
    await worker.takes(job)
    await worker.upload(job, 2)
    await worker.completes(job, 2, {}, { gpuSeconds: 10, engine: 'null' })
    const done = await world.reaches(job, 'completed')
    const released = { epoch: 1, gpuSeconds: 2.5, micros: 1_325, end: 'released', isCharged: false }
    const completed = { epoch: 2, gpuSeconds: 10, micros: 5_300, end: 'completed', isCharged: true }
    expect(done.spent).toMatchObject([released, completed])
    expect(done.turn?.seconds).toBe(10)
    const posting = await until(() => world.posting(job), { what: 'the posting' })
    expect(posting).toMatchObject({
      ...{ state: 'completed', priority: 'normal', attempts: done.spent },
      charged: { gpuSeconds: 10, micros: 5_300 },
      ours: { gpuSeconds: 2.5, micros: 1_325 },
    })
  })

  it('that are lost are booked by what the last heartbeat told', async () => {
    const { worker, job } = await world.rendering()
    worker.sendsHeartbeat([{ job, epoch: 1, gpuSeconds: 7 }])
    const queued = await world.reaches(job, 'queued')
    expect(queued.spent).toMatchObject([
      { epoch: 1, gpuSeconds: 7, end: 'lost', isMeasured: false, isCharged: false },
    ])
  })

  it('that run far past their deadline are booked by what the heartbeat told that said so', async () => {
    const { worker, job } = await world.rendering()
    worker.sendsHeartbeat([{ job, epoch: 1, renderedForSeconds: 700, gpuSeconds: 710 }])
    const failed = await world.reaches(job, 'failed')
    expect(failed.spent).toMatchObject([{ epoch: 1, gpuSeconds: 710, end: 'overdue' }])
  })
})

describe('an attempt whose end its worker has told', () => {
  it('is not lost while heartbeats name it, and is stopped once the end is handled', async () => {
    const { worker, job } = await world.rendering()
    const orders = await worker.collectStopOrders()
    const { silentAfterMs, watchGraceMs } = world.timings
    const endMs = performance.now() + silentAfterMs + watchGraceMs
    await until(
      () => {
        worker.sendsHeartbeat([{ job, epoch: 1, stage: 'ended' }])
        return performance.now() > endMs
      },
      { everyMs: 50 },
    )
    expect(orders).toEqual([])
    expect((await world.record(job))?.state).toBe('rendering')
    await worker.reports('failed', job, 1)
    await world.reaches(job, 'queued')
    await until(() => {
      worker.sendsHeartbeat([{ job, epoch: 1, stage: 'ended' }])
      return orders.length > 0
    })
    expect(orders[0]).toEqual({ jobId: job.jobId, epoch: 1 })
    expect(await world.record(job)).toMatchObject({ failures: 1, deaths: 0 })
  })
})
