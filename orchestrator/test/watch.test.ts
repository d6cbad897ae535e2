import { outputKey, subjects } from '@avatar/contracts'
import { aRender } from '@avatar/contracts/testing'
import { createLog, systemClock } from '@avatar/service-kit'
import { itKeepsTheRunnableContract, until } from '@avatar/service-kit/testing'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { watchWorkers } from '../src/watch-workers.ts'
import { inOneWorld, type Orchestrator, sha256, type World } from './world.ts'

let world: World
let orchestrator: Orchestrator
inOneWorld((opened) => {
  world = opened.world
  orchestrator = opened.orchestrator
})

async function rendering() {
  const worker = await world.createWorker()
  const job = await world.submit()
  await world.reaches(job, 'queued')
  await worker.claim(job)
  await worker.says('started', job, 1)
  await world.reaches(job, 'rendering')
  return { worker, job }
}

/** Lets a time pass in which something happens again and again. */
const during = async (ms: number, act: () => void) => {
  const endMs = performance.now() + ms
  const isOver = () => {
    act()
    return performance.now() > endMs
  }
  await until(isOver, { timeoutMs: ms + 10_000, everyMs: 50 })
}

describe('the watch over the workers', () => {
  itKeepsTheRunnableContract(async () => {
    const bus = await world.connectAs('orchestrator')
    const monitor = `${world.nats.monitor}/connz?subs=1`
    const schema = z.object({
      connections: z.array(
        z.object({ cid: z.int(), subscriptions_list: z.array(z.string()).optional() }),
      ),
    })
    /** The orchestrator that runs beside it has one too. */
    async function subscriptions() {
      const { connections } = schema.parse(await (await fetch(monitor)).json())
      return connections.filter(({ subscriptions_list }) => subscriptions_list?.includes('beat.*'))
        .length
    }
    const before = await subscriptions()
    const runnable = watchWorkers({
      ...{ bus, clock: systemClock, log: createLog('test', 'silent'), timings: world.timings },
      ledger: { find: async () => undefined, apply: async () => undefined },
      liveJobs: {
        ...{ all: () => new Map().values(), find: () => undefined, openAttempts: () => [] },
        ...{ count: () => 0, start: async () => undefined, stop: async () => undefined },
      },
    })
    return { runnable, atWork: async () => (await subscriptions()) - before }
  })

  it('costs nobody his render when it was the broker that was silent', async () => {
    const { worker, job } = await rendering()
    const beat = () => worker.beats([{ job, epoch: 1 }])
    const { silentAfterMs, watchGraceMs } = world.timings
    await during(watchGraceMs, beat)
    process.kill(world.nats.pid(), 'SIGSTOP')
    await during(2 * silentAfterMs, beat)
    process.kill(world.nats.pid(), 'SIGCONT')
    await during(watchGraceMs + silentAfterMs, beat)
    expect(await world.record(job)).toMatchObject({ state: 'rendering', epoch: 1 })
    // The same worker is lost once it is silent by itself.
    expect(await world.reaches(job, 'queued')).toMatchObject({ deaths: 1 })
  })

  it('gives an attempt up at once when its worker lives on without it', async () => {
    const { worker, job } = await rendering()
    await during(world.timings.watchGraceMs, () => worker.beats([{ job, epoch: 1 }]))
    const reborn = await world.createWorker('w1', 'i2')
    reborn.beats([])
    expect(await world.reaches(job, 'queued')).toMatchObject({ deaths: 1, epoch: 1 })
  })

  it('stops nobody whose attempt is open and wanted', async () => {
    const { worker, job } = await rendering()
    let orders = 0
    worker.bus.subscribe(subjects.stop(worker.workerId), () => {
      orders++
    })
    await worker.bus.ping(1_000)
    await during(1_000, () => worker.beats([{ job, epoch: 1 }]))
    expect(orders).toBe(0)
  })

  it('reports a render far past its deadline even where no record is known, and disturbs nobody', async () => {
    const { worker, job } = await rendering()
    const stranger = { ...job, jobId: '00000000-0000-4000-8000-00000000000a' }
    worker.beats([
      { job: stranger, epoch: 1, renderedForSeconds: 700 },
      { job, epoch: 1 },
    ])
    const lines = () => orchestrator.lines().filter(({ jobId }) => jobId === stranger.jobId)
    await until(() => lines().some(({ msg }) => msg === 'event of an unknown job ignored'))
    expect(await world.record(job)).toMatchObject({ state: 'rendering', epoch: 1 })
  })

  it('says so when it does not understand a beat, and hears the next one', async () => {
    const { worker, job } = await rendering()
    worker.bus.publishCore(subjects.beat('w1'), { nonsense: true })
    await until(() => orchestrator.lines().some(({ msg }) => msg === 'message ignored'))
    worker.beats([{ job, epoch: 1, renderedForSeconds: 700 }])
    expect((await world.reaches(job, 'failed')).error?.code).toBe('DEADLINE_EXCEEDED')
  })
})

describe('an event that the broker forgets', () => {
  it('to cancel a job is told again', async () => {
    const job = await world.submit()
    await world.reaches(job, 'queued')
    await orchestrator.stop()
    const { jobId, owner } = job
    const about = { jobId, owner, epoch: 0, revision: 0, atMs: Date.now() }
    await world.publishEvent({ type: 'job.cancel-requested', ...about })
    await world.forgetEvents()
    await world.forgetMessageIds('EVENTS')
    orchestrator = await world.startOrchestrator()
    await world.reaches(job, 'cancelled', 20_000)
  })

  it('of an upload is told again, though its worker is no more', async () => {
    const { worker, job } = await rendering()
    await worker.upload(job, 1)
    await orchestrator.stop()
    const rendered = aRender({
      key: outputKey(job.jobId, 1),
      bytes: 'video'.length,
      sha256: sha256('video'),
    })
    await world.crashAfterWriting(job, { kind: 'completed', epoch: 1, rendered })
    orchestrator = await world.startOrchestrator()
    const done = await world.reaches(job, 'completed', 20_000)
    expect(done).toMatchObject({ epoch: 1, result: rendered })
  })
})
