import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  expectCompletedOnce,
  type System,
  startAnotherWorker,
  startSystem,
  suspend,
} from '../harness/index.ts'

/** The one test with the system's real waits: everywhere else they are ten times shorter. */
describe('a worker that is suspended until its job is given to another', () => {
  let system: System
  let other: { stop(): Promise<void> } | undefined
  beforeAll(async () => {
    system = await startSystem({ env: { TIMINGS_DIVISOR: '1' } })
  })
  afterAll(async () => {
    await other?.stop()
    expect(await system.stop()).toEqual([])
  })

  it('loses its job, and what it made of it is refused', async () => {
    const { jobId } = await system.client.submit({ prompt: 'null:seconds=20' })
    await system.client.untilView(jobId, ({ stage }) => stage === 'rendering')
    other = await startAnotherWorker(system, 'other')
    const zombie = [await system.pidOf('sidecar'), await system.pidOf('child')]

    // The other worker renders it, and is not done: from here on both work on it.
    await suspend(zombie, () =>
      system.client.untilView(jobId, (view) => view.attempt === 2 && view.stage === 'rendering'),
    )

    await expectCompletedOnce(system, jobId, { attempt: 2 })
    const facts = await (await system.broker()).factsOf(jobId)
    const epochsOf = (wanted: string) =>
      facts.filter(({ type }) => type === wanted).map(({ epoch }) => epoch)
    expect(epochsOf('render.started')).toEqual([1, 2])
    expect(epochsOf('job.attempt-lost')).toEqual([1])
    expect(epochsOf('render.completed')).toEqual([2])

    // Both workers survive and take more work.
    expect(await system.pidOf('sidecar')).toBe(zombie[0])
    const next = await Promise.all([1, 2].map(() => system.client.submit()))
    for (const each of next) await expectCompletedOnce(system, each.jobId, { attempt: 1 })
  })
})
