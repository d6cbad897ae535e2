import { jobPrefix } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  cancelAtRandom,
  expectCompletedOnce,
  type System,
  startSystem,
  until,
} from '../harness/index.ts'

const cancels = Number(process.env['CANCELS'] || 16)
/** A night's cancels take longer than a test usually may. */
const testTimeoutMs = 600_000 + cancels * 3_000
/** What frees the device is a kill, at the latest. */
const freeWithinMs = 15_000

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
      what: `an empty prefix of ${jobId}`,
    })
    const broker = await system.broker()
    const facts = (await broker.factsOf(jobId)).map(({ type }) => type)
    const ends = facts.filter((type) => /^job\.(completed|failed|cancelled)$/.test(type))
    expect(ends, jobId).toEqual(['job.cancelled'])
    await until(async () => (await broker.postingsOf(jobId)).length > 0, { what: 'the posting' })
    expect(await broker.postingsOf(jobId), jobId).toMatchObject([{ state: 'cancelled' }])
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

  it(
    'at any moment leaves one end, and the device free within seconds',
    async () => {
      const seed = Number(process.env['CANCEL_SEED'] || Date.now() % 1_000_000)
      console.log(`cancels: CANCEL_SEED=${seed}`)
      const owner = system.clientWith(await system.createKey('cancels'))
      const done = await cancelAtRandom(owner, { seed, cancels })
      const broker = await system.broker()
      const stopped = new Map(
        (await broker.factsOfType('render.cancelled')).map((e) => [e.jobId, e]),
      )
      let cancelled = 0
      let repeated = 0
      let longestMs = 0
      for (const { jobId, isHanging, sentAtMs, answers } of done) {
        const { status } = await owner.status(jobId)
        const answered = answers.at(-1)
        repeated += answers.length - 1
        if (status === 'completed') {
          // Its end came first, or while the worker was told.
          expect([200, 409], jobId).toContain(answered)
          expect(isHanging, jobId).toBe(false)
          await expectCompletedOnce(system, jobId, { client: owner })
          continue
        }
        cancelled++
        expect(status, jobId).toBe('cancelled')
        // The first of several may have been carried out, although its answer was late.
        expect(answers.length === 1 ? [200] : [200, 409], `${jobId}: ${answers}`).toContain(
          answered,
        )
        await expectNothingLeft(jobId)
        const freedAtMs = stopped.get(jobId)?.atMs
        if (freedAtMs) longestMs = Math.max(longestMs, freedAtMs - sentAtMs)
      }
      expect(longestMs).toBeLessThan(freeWithinMs)
      const next = await owner.submit()
      await expectCompletedOnce(system, next.jobId, { attempt: 1, client: owner })
      console.log(
        `cancels: ${done.length} cancels, ${cancelled} cancelled, ${done.length - cancelled} completed, ` +
          `${stopped.size} while a worker had the job, device free after ` +
          `${(longestMs / 1_000).toFixed(1)} s at most, ${repeated} asked again after a 503; seed ${seed}`,
      )
    },
    testTimeoutMs,
  )
})
