import { jobPrefix } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type System, startSystem, until } from '../harness/index.ts'

describe('cancelling', () => {
  let system: System
  beforeAll(async () => {
    system = await startSystem()
  })
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
  })

  /** No object is left, exactly one event ends the job, and it is posted once. */
  async function expectNothingLeft(jobId: string) {
    const store = await system.store()
    await until(async () => (await store.keys(jobPrefix(jobId))).length === 0, {
      what: 'an empty prefix',
    })
    const broker = await system.broker()
    const facts = (await broker.factsOf(jobId)).map(({ type }) => type)
    const ends = facts.filter((type) => /^job\.(completed|failed|cancelled)$/.test(type))
    expect(ends).toEqual(['job.cancelled'])
    await until(async () => (await broker.postingsOf(jobId)).length > 0, { what: 'the posting' })
    expect(await broker.postingsOf(jobId)).toMatchObject([{ state: 'cancelled' }])
  }

  it('stops a render within seconds, and the worker takes the next job', async () => {
    const child = await system.pidOf('child')
    const long = await system.client.submit({ prompt: 'null:seconds=60' })
    await system.client.untilView(long.jobId, (view) => view.stage === 'rendering')
    const answer = await system.client.cancel(long.jobId)
    expect(answer).toMatchObject({ status: 200, body: { data: { status: 'cancelling' } } })
    await system.client.untilEnded(long.jobId, 'cancelled')
    await expectNothingLeft(long.jobId)

    const next = await system.client.submit()
    await system.client.untilEnded(next.jobId, 'completed')
    // It stopped between two forwards: nobody had to kill it.
    expect(await system.pidOf('child')).toBe(child)
  })

  it('takes a waiting job out of the queue', async () => {
    const first = await system.client.submit({ prompt: 'null:seconds=8' })
    await system.client.untilView(first.jobId, (view) => view.stage === 'rendering')
    const waiting = await system.client.submit()
    await system.client.untilView(waiting.jobId, (view) => view.stage === 'queued')
    await system.client.cancel(waiting.jobId)
    const view = await system.client.untilEnded(waiting.jobId, 'cancelled')
    expect(view.attempt).toBe(0)
    await expectNothingLeft(waiting.jobId)
    await system.client.untilEnded(first.jobId, 'completed')
  })

  it('refuses to cancel what has ended', async () => {
    const { jobId } = await system.client.submit()
    await system.client.untilEnded(jobId, 'completed')
    const answer = await system.client.cancel(jobId)
    expect(answer).toMatchObject({ status: 409, body: { error: { code: 'JOB_ALREADY_FINISHED' } } })
  })
})
