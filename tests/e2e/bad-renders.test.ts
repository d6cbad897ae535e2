import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  expectAllCompletedOnce,
  expectCompletedOnce,
  isAlive,
  type System,
  startSystem,
  until,
} from '../harness/index.ts'

const deadlineSeconds = 3
const poisonJobs = Number(process.env['POISON_JOBS'] || 1)
const hangingJobs = Number(process.env['HANGING_JOBS'] || 1)
/** A night's jobs take longer than a test usually may. */
const testTimeoutMs = 600_000 + (poisonJobs + hangingJobs) * 60_000
const seconds = (ms: number) => (ms / 1_000).toFixed(1)

describe('a render that goes badly', () => {
  let system: System
  beforeAll(async () => {
    system = await startSystem({ env: { RENDER_DEADLINE_MIN_SECONDS: String(deadlineSeconds) } })
  })
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
  })

  /** The terminal events of a job, of which there should be one. It follows the record by a moment. */
  const endsOf = (jobId: string) =>
    until(async () => {
      const facts = (await (await system.broker()).factsOf(jobId)).map(({ type }) => type)
      const ends = facts.filter((type) => /^job\.(completed|failed|cancelled)$/.test(type))
      return ends.length > 0 && ends
    })

  /** Submits three jobs at once, and waits until they are completed. */
  async function completeOthers() {
    const submittedAtMs = performance.now()
    const others = await Promise.all([1, 2, 3].map(() => system.client.submit()))
    const jobIds = others.map(({ jobId }) => jobId)
    await Promise.all(jobIds.map((jobId) => system.client.untilEnded(jobId, 'completed')))
    return { jobIds, tookMs: performance.now() - submittedAtMs }
  }

  it(
    'a job that kills its worker each time fails at the sixth death, and the others complete',
    async () => {
      const alone = await completeOthers()
      let deaths = 0
      let longestMs = 0
      let mostBefore = 0
      for (let poisoned = 0; poisoned < poisonJobs; poisoned++) {
        const poison = await system.client.submit({ prompt: 'null:crash null:seconds=0.2' })
        const { jobIds, tookMs } = await completeOthers()
        const doneAtMs = Date.now()
        longestMs = Math.max(longestMs, tookMs)
        await expectAllCompletedOnce(system, jobIds)
        for (const jobId of jobIds) {
          const facts = await (await system.broker()).factsOf(jobId)
          expect(facts.map(({ type }) => type)).not.toContain('render.failed')
        }
        const view = await system.client.untilEnded(poison.jobId, 'failed')
        expect(view).toMatchObject({ attempt: 6, error: { code: 'RENDER_PROCESS_DIED' } })
        expect(await endsOf(poison.jobId)).toEqual(['job.failed'])
        const facts = await (await system.broker()).factsOf(poison.jobId)
        const died = facts.filter(({ type }) => type === 'render.failed')
        deaths += died.length
        mostBefore = Math.max(mostBefore, died.filter(({ atMs }) => atMs < doneAtMs).length)
      }
      expect(deaths).toBe(6 * poisonJobs)
      console.log(
        `poison jobs: ${poisonJobs} jobs, ${deaths} deaths of their render process, ` +
          `${3 * poisonJobs} others completed, three of them ${seconds(longestMs - alone.tookMs)} s later ` +
          `at most than without, after ${mostBefore} deaths at most`,
      )
    },
    testTimeoutMs,
  )

  it('a job that fails in the engine each time fails at the third attempt', async () => {
    const { jobId } = await system.client.submit({ prompt: 'null:fail' })
    const view = await system.client.untilEnded(jobId, 'failed')
    expect(view).toMatchObject({ attempt: 3, error: { code: 'RENDER_FAILED' } })
    expect(await endsOf(jobId)).toEqual(['job.failed'])
  })

  it.each([
    ['null:noface', 'NO_FACE'],
    ['null:oom-always', 'GPU_OUT_OF_MEMORY'],
  ])('a job that no retry can help fails at once: %s', async (prompt, code) => {
    const { jobId } = await system.client.submit({ prompt })
    const view = await system.client.untilEnded(jobId, 'failed')
    expect(view).toMatchObject({ attempt: 1, error: { code } })
  })

  it('a face that the engine cannot use is explained in its own words, and a doubt stands in the result', async () => {
    const refused = await system.client.submit({ prompt: 'null:noface' })
    const view = await system.client.untilEnded(refused.jobId, 'failed')
    expect(view.error?.message).toContain('the prompt asked for that')
    const doubtful = await system.client.submit({ prompt: 'null:warn' })
    const certain = await system.client.submit()
    for (const { jobId } of [doubtful, certain])
      await expectCompletedOnce(system, jobId, { attempt: 1 })
    const { warnings } = await system.client.result(doubtful.jobId)
    expect(warnings).toEqual([{ code: 'ASKED_FOR', message: expect.any(String) }])
    expect((await system.client.result(certain.jobId)).warnings).toEqual([])
  })

  it('a job that does not fit into memory is rendered smaller, delivered at full size, and says so', async () => {
    const whole = await system.client.submit()
    const smaller = await system.client.submit({ prompt: 'null:oom' })
    for (const { jobId } of [whole, smaller])
      await expectCompletedOnce(system, jobId, { attempt: 1 })
    const full = await system.client.result(whole.jobId)
    const degraded = await system.client.result(smaller.jobId)
    expect([full.degraded, degraded.degraded]).toEqual([false, true])
    expect(degraded.generation.width).toBeLessThan(full.generation.width)
    expect([degraded.width, degraded.height]).toEqual([full.width, full.height])
  })

  it(
    'a render that hangs is killed at its deadline, and the next job starts',
    async () => {
      let longestMs = 0
      let nextAfterMs = 0
      for (let hung = 0; hung < hangingJobs; hung++) {
        const child = await system.pidOf('child')
        const hanging = await system.client.submit({ prompt: 'null:hang null:seconds=0.2' })
        const next = await system.client.submit()
        const view = await system.client.untilEnded(hanging.jobId, 'failed')
        expect(view).toMatchObject({ attempt: 1, error: { code: 'DEADLINE_EXCEEDED' } })
        const endedAtMs = Date.parse(view.finished_at ?? '')
        const ranForMs = endedAtMs - Date.parse(view.started_at ?? '')
        expect(ranForMs).toBeGreaterThan(deadlineSeconds * 1000 - 500)
        expect(ranForMs).toBeLessThan(deadlineSeconds * 1000 + 10_000)
        await expectCompletedOnce(system, next.jobId, { attempt: 1 })
        expect(await system.pidOf('child')).not.toBe(child)
        expect(isAlive(child ?? 0)).toBe(false)
        const facts = await (await system.broker()).factsOf(next.jobId)
        const started = facts.find(({ type }) => type === 'render.started')
        longestMs = Math.max(longestMs, ranForMs)
        nextAfterMs = Math.max(nextAfterMs, (started?.atMs ?? Infinity) - endedAtMs)
      }
      console.log(
        `hanging renders: ${hangingJobs} jobs, each killed within ${seconds(longestMs)} s of its start by ` +
          `a deadline of ${deadlineSeconds} s, the next render started ${seconds(nextAfterMs)} s later at most`,
      )
    },
    testTimeoutMs,
  )

  it('a worker that gets SIGTERM releases its job at once, and the attempt does not count as lost', async () => {
    const { jobId } = await system.client.submit({ prompt: 'null:seconds=2' })
    await system.client.untilView(jobId, ({ stage }) => stage === 'rendering')
    const signalledAt = Date.now()
    await system.kill('sidecar', 'SIGTERM')
    await expectCompletedOnce(system, jobId, { attempt: 2 })
    const facts = await (await system.broker()).factsOf(jobId)
    const released = facts.find(({ type }) => type === 'render.released')
    expect((released?.atMs ?? Infinity) - signalledAt).toBeLessThan(4_000)
    expect(facts.map(({ type }) => type)).not.toContain('job.attempt-lost')
  })
})
