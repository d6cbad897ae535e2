import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  expectCompletedOnce,
  type System,
  startAnotherWorker,
  startSystem,
  suspend,
} from '../harness/index.ts'

const minute = 60_000

/** The one test with the system's real waits: everywhere else they are ten times shorter. */
describe('a worker that is stopped for a minute and continued', () => {
  let system: System
  let other: { stop(): Promise<void> } | undefined
  beforeAll(async () => {
    system = await startSystem({ env: { TIMINGS_DIVISOR: '1' } })
  }, 90_000)
  afterAll(async () => {
    await other?.stop()
    expect(await system.stop()).toEqual([])
  }, 90_000)

  it('finds its job in other hands, and what it made of it refused', async () => {
    const { jobId } = await system.client.submit({ prompt: 'null:seconds=20' })
    await system.client.untilView(jobId, ({ stage }) => stage === 'rendering')
    other = await startAnotherWorker(system, 'other')
    const zombie = [await system.pidOf('sidecar'), await system.pidOf('child')]

    await suspend(
      zombie.filter((pid) => pid !== undefined),
      minute,
    )
    // The other one has it, and is not done: both work on it now.
    expect(await system.client.status(jobId)).toMatchObject({ attempt: 2, stage: 'rendering' })

    await expectCompletedOnce(system, jobId, { attempt: 2 })
    const facts = await (await system.broker()).factsOf(jobId)
    const epochsOf = (wanted: string) =>
      facts.filter(({ type }) => type === wanted).map(({ epoch }) => epoch)
    expect(epochsOf('render.started')).toEqual([1, 2])
    expect(epochsOf('job.attempt-lost')).toEqual([1])
    expect(epochsOf('render.completed')).toEqual([2])

    // Nobody is ill afterwards: the one that was stopped is alive, and there is work for both.
    expect(await system.pidOf('sidecar')).toBe(zombie[0])
    const next = await Promise.all([1, 2].map(() => system.client.submit()))
    for (const each of next) await expectCompletedOnce(system, each.jobId, { attempt: 1 })
  }, 200_000)
})
