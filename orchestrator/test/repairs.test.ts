import { randomUUID } from 'node:crypto'
import { createFairOrder, jobKey, plainNeeds, subjects } from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import { factOf, plainEvent } from '@avatar/job-kit'
import { type Bus, type Clock, createLog, createMetrics, systemClock } from '@avatar/service-kit'
import { itKeepsTheRunnableContract, until } from '@avatar/service-kit/testing'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { watchWorkers } from '../src/liveness/watch-workers.ts'
import { createLiveJobs, type LiveJobs } from '../src/records/live-jobs.ts'
import { viewChecker } from '../src/repairs/check-view.ts'
import { reconciler } from '../src/repairs/reconcile.ts'
import { renderOf } from './hand-worker.ts'
import { inOneWorld, type Orchestrator, type World } from './world.ts'

let world: World
let orchestrator: Orchestrator
inOneWorld((opened) => {
  world = opened.world
  orchestrator = opened.orchestrator
})

/** Acts again and again for some time. */
const during = async (ms: number, act: () => void) => {
  const endMs = performance.now() + ms
  const isOver = () => {
    act()
    return performance.now() > endMs
  }
  await until(isOver, { timeoutMs: ms + 10_000, everyMs: 50 })
}

const metrics = createMetrics('orchestrator')
const deps = (bus: Bus) => ({
  metrics,
  ...{ bus, clock: systemClock, log: createLog('test', 'silent'), timings: world.timings },
  writer: { find: async () => undefined },
})

/** A clock that counts the waits under way: a loop between two passes has one. */
function countingClock() {
  let waits = 0
  const wait: Clock['wait'] = async (ms, signal) => {
    waits++
    await systemClock.wait(ms, signal)
    waits--
  }
  return { clock: { ...systemClock, wait }, waiting: () => waits }
}

const noJobs: Pick<LiveJobs, 'all' | 'find' | 'openAttempts'> = {
  ...{ all: () => new Map().values(), find: () => undefined, openAttempts: () => [] },
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
    /** The running orchestrator has one too. */
    async function subscriptions() {
      const { connections } = schema.parse(await (await fetch(monitor)).json())
      return connections.filter(({ subscriptions_list }) => subscriptions_list?.includes('beat.*'))
        .length
    }
    const before = await subscriptions()
    const runnable = watchWorkers({ ...deps(bus), liveJobs: noJobs })
    return { runnable, atWork: async () => (await subscriptions()) - before }
  })

  it('stops between two lost attempts', async () => {
    const [first, second] = [randomUUID(), randomUUID()]
    const lost = (jobId: string) => ({
      ...{ jobId, owner: 'o_abcDEF123456', epoch: 1, workerId: 'gone', incarnation: 'i1' },
    })
    let stopped: Promise<void> | undefined
    const runnable = watchWorkers({
      ...deps(await world.connectAs('orchestrator')),
      liveJobs: {
        ...noJobs,
        openAttempts: () => [lost(first), lost(second)],
        // The watch looks the attempt up when it publishes that it is lost.
        find() {
          stopped ??= runnable.stop()
          return undefined
        },
      },
    })
    await runnable.start()
    await until(() => stopped !== undefined, { what: 'the first lost attempt' })
    await stopped
    const isPublished = (jobId: string) =>
      world.holds('EVENTS', subjects.event('job.attempt-lost', jobId))
    expect([await isPublished(first), await isPublished(second)]).toEqual([true, false])
  })

  it('gives up on no attempt while it is the broker that is silent', async () => {
    const { worker, job } = await world.rendering()
    const beat = () => worker.sendsHeartbeat([{ job, epoch: 1 }])
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

  it('gives up at once on an attempt whose worker lives on without it', async () => {
    const { worker, job } = await world.rendering()
    await during(world.timings.watchGraceMs, () => worker.sendsHeartbeat([{ job, epoch: 1 }]))
    const reborn = await world.createWorker('w1', 'i2')
    reborn.sendsHeartbeat([])
    expect(await world.reaches(job, 'queued')).toMatchObject({ deaths: 1, epoch: 1 })
  })

  it('stops no worker whose attempt is open and wanted', async () => {
    const { worker, job } = await world.rendering()
    const orders = await worker.collectStopOrders()
    await during(1_000, () => worker.sendsHeartbeat([{ job, epoch: 1 }]))
    expect(orders).toEqual([])
  })

  it('reports a render far past its deadline even without a record, and does no harm to others', async () => {
    const { worker, job } = await world.rendering()
    const stranger = { ...job, jobId: '00000000-0000-4000-8000-00000000000a' }
    worker.sendsHeartbeat([
      { job: stranger, epoch: 1, renderedForSeconds: 700 },
      { job, epoch: 1 },
    ])
    const lines = () => orchestrator.linesAbout(stranger)
    await until(() => lines().some(({ msg }) => msg === 'event of an unknown job ignored'))
    expect(lines().find(({ msg }) => msg === 'render far past its deadline')).toMatchObject({
      ...{ level: 'error', code: 'DEADLINE_EXCEEDED', workerId: 'w1' },
    })
    expect(await world.record(job)).toMatchObject({ state: 'rendering', epoch: 1 })
  })

  it('logs a heartbeat that does not follow its schema, and handles the next one', async () => {
    const { worker, job } = await world.rendering()
    worker.bus.publishCore(subjects.beat('w1'), { nonsense: true })
    await until(() => orchestrator.lines().some(({ msg }) => msg === 'message ignored'))
    worker.sendsHeartbeat([{ job, epoch: 1, renderedForSeconds: 700 }])
    expect((await world.reaches(job, 'failed')).error?.code).toBe('DEADLINE_EXCEEDED')
  })
})

describe('the reconciler', () => {
  itKeepsTheRunnableContract(async () => {
    const bus = await world.connectAs('orchestrator')
    const { clock, waiting } = countingClock()
    const runnable = reconciler({ ...deps(bus), clock, liveJobs: noJobs })
    return { runnable, atWork: waiting }
  })

  it('stops between two jobs', async () => {
    const stop = new AbortController()
    const nowMs = () => {
      stop.abort()
      return Date.now()
    }
    const waitedTooLong = [1, 2].map(() => aJob({ jobId: randomUUID(), state: 'pending' }))
    const { runOnce } = reconciler({
      ...deps(await world.connectAs('orchestrator')),
      clock: { ...systemClock, nowMs },
      liveJobs: {
        ...noJobs,
        all: () =>
          waitedTooLong
            .map((job) => ({ value: { ...job, needs: plainNeeds }, revision: 1 }))
            .values(),
      },
    })
    expect(await runOnce(stop.signal)).toMatchObject({ timedOut: 1 })
  })

  it('publishes a request to cancel again that the broker has forgotten', async () => {
    const job = await world.queued()
    await orchestrator.stop()
    await world.publishEvent(plainEvent('job.cancel-requested', factOf(job, 0, Date.now())))
    await world.forgetEvents()
    await world.forgetMessageIds('EVENTS')
    orchestrator = await world.startOrchestrator()
    await world.reaches(job, 'cancelled')
  })

  it('publishes an upload again that the broker has forgotten, although its worker is gone', async () => {
    const { worker, job } = await world.rendering()
    await worker.upload(job, 1)
    await orchestrator.stop()
    const rendered = renderOf(job, 1)
    await world.crashAfterWriting(job, { kind: 'completed', epoch: 1, rendered })
    orchestrator = await world.startOrchestrator()
    const done = await world.reaches(job, 'completed')
    expect(done).toMatchObject({ epoch: 1, result: rendered })
  })
})

describe('the check of the view', () => {
  const rules = { headStartSeconds: 60, shareOf: () => 1, heldBack: () => undefined }

  /** A view, and the lines that its check logs. */
  async function checkedView() {
    const lines: Record<string, unknown>[] = []
    const destination = { write: (line: string) => void lines.push(JSON.parse(line)) }
    const log = createLog('test', 'info', { destination })
    const { records, timings } = world
    const order = createFairOrder(rules)
    const liveJobs = createLiveJobs({ records, clock: systemClock, log, order })
    await liveJobs.start()
    await until(() => liveJobs.isReady?.())
    const checker = viewChecker({ clock: systemClock, log, metrics, timings, records, liveJobs })
    return { liveJobs, checker, lines }
  }

  itKeepsTheRunnableContract(async () => {
    const { clock, waiting } = countingClock()
    const { liveJobs } = await checkedView()
    await liveJobs.stop()
    const { records, timings } = world
    const log = createLog('test', 'silent')
    const runnable = viewChecker({ clock, log, metrics, timings, records, liveJobs })
    return { runnable, atWork: waiting }
  })

  it('finds nothing wrong as long as the watch tells everything', async () => {
    const { liveJobs, checker, lines } = await checkedView()
    await world.queued()
    expect(await checker.runOnce()).toBe(0)
    expect(lines).toEqual([])
    await liveJobs.stop()
  })

  it('corrects what the view has missed, has too much, or has wrong, and says so', async () => {
    const { liveJobs, checker, lines } = await checkedView()
    const [missed, changed, later] = [
      await world.queued(),
      await world.queued(),
      await world.queued(),
    ]
    await until(() => liveJobs.find(later.jobId)?.value.state === 'queued')
    liveJobs.correct(missed.jobId, undefined)
    liveJobs.correct(changed.jobId, { value: changed, revision: 1 })
    const ghost = aJob({ jobId: randomUUID() })
    liveJobs.correct(ghost.jobId, { value: ghost, revision: 1 })
    expect(await checker.runOnce()).toBe(3)
    for (const { jobId, owner } of [missed, changed])
      expect(liveJobs.find(jobId)?.revision).toBe(
        (await world.records.find(jobKey(owner, jobId)))?.revision,
      )
    expect(liveJobs.find(ghost.jobId)).toBeUndefined()
    const named = lines.filter(({ level }) => level === 'error').map(({ jobId }) => jobId)
    expect(named.toSorted()).toEqual([missed, changed, ghost].map(({ jobId }) => jobId).toSorted())
    expect(await checker.runOnce()).toBe(0)
    await liveJobs.stop()
  })
})
