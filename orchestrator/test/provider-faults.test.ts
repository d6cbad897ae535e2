import { randomUUID } from 'node:crypto'
import type { JobRecord, Wake } from '@avatar/contracts'
import { pick, seededRandom, until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { RingEnd } from './doorbell-server.ts'
import { scaleWorld } from './scale-world.ts'
import { createWorld, type World } from './world.ts'

/** So many faults of the provider in all. */
const faults = Number(process.env['PROVIDER_FAULTS'] || 5)
/** A night's faults take longer than a test usually may. */
const testTimeoutMs = 480_000 + faults * 20_000
const seed = Number(process.env['PROVIDER_SEED'] || Date.now() % 1_000_000)
/** A ring that is not taken, one whose answer is lost, and one that is taken and brings nobody. */
const kinds = [429, 500, 'broken', 'silent'] as const
type Kind = (typeof kinds)[number]
const faultsAtOnce = 3
/** Each job costs one, so that every fourth has to wait for the next day. */
const budgetPerDay = 3
const wakeDeadlineMs = 5_000
const over: ReadonlySet<Wake['state']> = new Set(['lost', 'ended'])

let world: World
beforeAll(async () => {
  // Short enough to be waited for, and longer than a busy machine needs for a pass.
  const short = { wakeDeadlineMs, ringAgainMs: 1_500, wakeSilentMs: 12_000 }
  const provider = { ringBackoffMs: 200, ringBackoffMaxMs: 1_000, providerTimeoutMs: 5_000 }
  world = await createWorld({ ...short, ...provider, scaleQuietMs: 300, surveyAgainMs: 300 })
})
afterAll(() => world?.stop())

it(
  'a job gets its worker through random faults of the provider, and never more than one, within the budget',
  async () => {
    console.log(`provider faults: PROVIDER_SEED=${seed}`)
    const random = seededRandom(seed)
    const scale = await scaleWorld(world)
    const money = { spentToday: 0, budgetPerDay }
    await scale.orchestrator({ SCALE_MAX_WORKERS: '3' }, { money: () => money })
    const met = new Map<Kind, number>()
    const count = () => [...met.values()].reduce((sum, each) => sum + each, 0)
    const known = new Set<string>()
    let jobs = 0
    let most = 0
    let daysSpent = 0
    let mostSpent = 0
    let slowestMs = 0

    const liveWakes = async () => {
      // One whose time has passed brings nobody, whether that is written yet or not.
      const awaitedSinceMs = Date.now() - wakeDeadlineMs
      return (await scale.wakes()).filter(
        ({ state, rungAtMs = Infinity }) => !over.has(state) && rungAtMs > awaitedSinceMs,
      )
    }

    /** A wake-up that was rung for and that nobody has answered yet. */
    const nextWake = () =>
      until(
        async () => {
          let live = await liveWakes()
          // They are read one by one: the first may be over when its successor is read.
          if (live.length > 1) live = await liveWakes()
          most = Math.max(most, live.length)
          return live.find(({ wakeId, state }) => state === 'rung' && !known.has(wakeId))
        },
        { what: 'a wake-up' },
      )

    async function workOn(job: JobRecord, { wakeId }: Wake) {
      const worker = await scale.worker(randomUUID())
      expect(await worker.hello(wakeId)).toMatchObject({ answer: 'work' })
      const silence = await scale.beating(worker, () => ({ state: 'ready', wakeId }))
      const { epoch } = await worker.takes(job)
      await worker.upload(job, epoch)
      await worker.completes(job, epoch)
      await world.reaches(job, 'completed', 240_000)
      await silence()
      const counts = { jobs: 1, busySeconds: 1, loadingSeconds: 1, idleSeconds: 1 }
      worker.sendsHeartbeat([], { state: 'gone', wakeId, counts })
      await scale.wake({ wakeId, state: 'ended' })
      await worker.bus.stop()
    }

    while (count() < faults) {
      const planned = Array.from({ length: 1 + random(faultsAtOnce) }, () => pick(kinds, random))
      let silent = planned.filter((kind) => kind === 'silent').length
      scale.doorbells.plan(planned.filter((kind): kind is RingEnd & Kind => kind !== 'silent'))
      const rings = scale.doorbells.rings.length
      const job = await scale.job()
      if (money.spentToday >= budgetPerDay) {
        await scale.reason('budget_reached')
        await scale.passes(3)
        expect(scale.doorbells.rings).toHaveLength(rings)
        daysSpent++
        money.spentToday = 0
      }
      const startedAtMs = performance.now()
      let wake = await nextWake()
      for (; silent > 0; silent--) {
        known.add(wake.wakeId)
        await scale.wake({ wakeId: wake.wakeId, state: 'lost' })
        wake = await nextWake()
      }
      slowestMs = Math.max(slowestMs, performance.now() - startedAtMs)
      known.add(wake.wakeId)
      await workOn(job, wake)
      for (const kind of planned) met.set(kind, (met.get(kind) ?? 0) + 1)
      jobs++
      money.spentToday++
      mostSpent = Math.max(mostSpent, money.spentToday)
    }
    expect(most).toBe(1)
    expect(mostSpent).toBeLessThanOrEqual(budgetPerDay)
    const told = kinds.map((kind) => `${met.get(kind) ?? 0} ${kind}`).join(', ')
    console.log(
      `provider faults: ${count()} faults (${told}), ${jobs} jobs completed, ${most} worker wanted at most ` +
        `for each, rung for within ${(slowestMs / 1_000).toFixed(1)} s, the budget reached ${daysSpent} times ` +
        `and never passed; seed ${seed}`,
    )
  },
  testTimeoutMs,
)
