import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type System, startSystem } from '../harness/index.ts'

describe('cancelling', () => {
  let system: System
  beforeAll(async () => {
    system = await startSystem()
  }, 90_000)
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
  }, 90_000)

  it('stops a render within seconds, and the worker takes the next job', async () => {
    const long = await system.client.submit({ prompt: 'null:seconds=60' })
    await system.client.untilView(long.jobId, (view) => view.stage === 'rendering')
    const answer = await system.client.cancel(long.jobId)
    expect(answer).toMatchObject({ status: 200, body: { data: { status: 'cancelling' } } })
    await system.client.untilEnded(long.jobId, 'cancelled', 10_000)

    const next = await system.client.submit()
    await system.client.untilEnded(next.jobId, 'completed', 20_000)
  }, 60_000)

  it('takes a waiting job out of the queue', async () => {
    const first = await system.client.submit({ prompt: 'null:seconds=8' })
    await system.client.untilView(first.jobId, (view) => view.stage === 'rendering')
    const waiting = await system.client.submit()
    await system.client.untilView(waiting.jobId, (view) => view.stage === 'queued')
    await system.client.cancel(waiting.jobId)
    const view = await system.client.untilEnded(waiting.jobId, 'cancelled', 10_000)
    expect(view.attempt).toBe(0)
    await system.client.untilEnded(first.jobId, 'completed')
  }, 60_000)

  it('refuses to cancel what has ended', async () => {
    const { jobId } = await system.client.submit()
    await system.client.untilEnded(jobId, 'completed')
    const answer = await system.client.cancel(jobId)
    expect(answer).toMatchObject({ status: 409, body: { error: { code: 'JOB_ALREADY_FINISHED' } } })
  }, 60_000)
})
