import { createHash } from 'node:crypto'
import { jobPrefix } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { expectCompletedOnce, type System, startSystem, until } from '../harness/index.ts'

describe('one job from submission to download', () => {
  let system: System
  beforeAll(async () => {
    system = await startSystem()
  })
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
  })

  it('renders, stores and delivers exactly the video that the result describes', async () => {
    const submitted = await system.client.submit({ seconds: 1.5 })
    expect(submitted.status).toBe(201)
    expect(submitted.headers.get('location')).toBe(`/status/${submitted.jobId}`)

    const view = await system.client.untilEnded(submitted.jobId, 'completed')
    expect(view).toMatchObject({ stage: 'completed', progress: 100, attempt: 1, error: null })

    const result = await system.client.result(submitted.jobId)
    expect(result).toMatchObject({
      fps: 25,
      engine: 'null',
      engine_facts: { device: 'cpu', precision: 'uint8', attention_backend: 'none' },
      degraded: false,
    })
    expect(result.width / result.height).toBeCloseTo(16 / 9, 2)
    expect(Math.abs(result.video_seconds - 1.5)).toBeLessThanOrEqual(1 / 25)
    const video = await system.client.download(submitted.jobId)
    expect(video.length).toBe(result.bytes)
    expect(createHash('sha256').update(video).digest('hex')).toBe(result.sha256)
  })

  it.each(['completed', 'cancelled'] as const)(
    'renders a job again under the Idempotency-Key of a %s one whose record was removed',
    async (ended) => {
      const { client } = system
      const options = { idempotencyKey: `after ${ended}`, prompt: 'null:seconds=1' }
      const { jobId } = await client.submit(options)
      if (ended === 'cancelled') await client.cancel(jobId)
      const first = await client.untilEnded(jobId, ended)
      const broker = await system.broker()
      // The media of a cancelled job are deleted at once: those of its next life must not be among them.
      const last = ended === 'cancelled' ? 'job.deleted' : 'job.completed'
      const isOver = async () => (await broker.factsOf(jobId)).some(({ type }) => type === last)
      await until(isOver, { what: last })
      await broker.manager.streams.purge('KV_job', { filter: `$KV.job.*.${jobId}` })

      const again = await client.submit({ ...options, seconds: 2 })
      expect([again.status, again.jobId]).toEqual([201, jobId])
      const second = await client.untilEnded(jobId, 'completed')
      expect(second.attempt).toBeGreaterThan(first.attempt)
      expect((await client.result(jobId)).video_seconds).toBeCloseTo(2, 1)
      const ofSecond = async () =>
        (await broker.factsOf(jobId)).filter(({ epoch }) => epoch === second.attempt)
      await until(async () => (await ofSecond()).some(({ type }) => type === 'job.completed'))
    },
  )

  it('hides a job from every other key', async () => {
    const { jobId } = await system.client.submit()
    const stranger = system.clientWith(await system.createKey('stranger'))
    const theirs = await stranger.send(`/status/${jobId}`)
    const unknown = await stranger.send('/status/00000000-0000-4000-8000-000000000000')
    expect(theirs.status).toBe(404)
    expect((theirs.body as { error: unknown }).error).toEqual(
      (unknown.body as { error: unknown }).error,
    )
    await system.client.untilEnded(jobId, 'completed')
  })

  it('creates one job for one Idempotency-Key, however many clients send it at once', async () => {
    const owner = system.clientWith(await system.createKey('twenty'))
    // Who finds the broker busy asks again, as clients do.
    const untilServed = () =>
      until(async () => {
        const answer = await owner.submit({ idempotencyKey: 'the same' })
        return answer.status !== 503 && answer
      })
    const answers = await Promise.all(Array.from({ length: 20 }, untilServed))
    const statuses = answers.map(({ status }) => status).sort()
    expect(statuses).toEqual([...Array.from({ length: 19 }, () => 200), 201])
    const jobIds = [...new Set(answers.map(({ jobId }) => jobId))]
    expect(jobIds).toHaveLength(1)
    expect((await owner.jobs()).jobs.map(({ job_id }) => job_id)).toEqual(jobIds)
    const [jobId = ''] = jobIds
    // The late ones have deleted the inputs that they stored.
    const inputs = await (await system.store()).keys(`${jobPrefix(jobId)}input/`)
    expect(inputs).toHaveLength(2)
    await expectCompletedOnce(system, jobId, { client: owner, attempt: 1 })
  })

  it('completes 20 jobs of three keys, and shows each key only its own', async () => {
    const owners = await Promise.all(
      ['one', 'two', 'three'].map(async (name) => system.clientWith(await system.createKey(name))),
    )
    const submitted = await Promise.all(
      Array.from({ length: 20 }, async (_, number) => {
        const owner = owners[number % owners.length] ?? system.client
        const options = { idempotencyKey: `one of twenty, ${number}`, prompt: 'null:seconds=0.1' }
        return { owner, jobId: await owner.submitUntilAccepted(options) }
      }),
    )
    for (const { owner, jobId } of submitted)
      await expectCompletedOnce(system, jobId, { client: owner, attempt: 1 })
    for (const owner of owners) {
      const own = submitted.filter((each) => each.owner === owner).map(({ jobId }) => jobId)
      const seen = (await owner.jobs()).jobs.map(({ job_id }) => job_id)
      expect(seen.sort()).toEqual(own.sort())
      const foreign = submitted.find((each) => each.owner !== owner)?.jobId
      for (const path of ['status', 'result', 'events'])
        expect((await owner.send(`/${path}/${foreign}`)).status).toBe(404)
    }
  })

  it('refuses a revoked key within five seconds', async () => {
    const key = await system.createKey('leaver')
    const leaver = system.clientWith(key)
    expect((await leaver.send('/jobs')).status).toBe(200)
    await system.cli('keys', 'revoke', '--name', 'leaver')
    // Counted from the end of the command, which takes seconds to start on a busy machine.
    await expect.poll(async () => (await leaver.send('/jobs')).status, { timeout: 5_000 }).toBe(401)
  })
})
