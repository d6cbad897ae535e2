import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  expectAllCompletedOnce,
  expectCompletedOnce,
  killAtRandom,
  processNames,
  type System,
  seededRandom,
  startSystem,
  until,
  type Victim,
} from '../harness/index.ts'

/** Jobs in flight while a process dies: one renders, the others wait. */
const jobsInFlight = 3

const victims: readonly Victim[] = [...processNames, 'child']

describe('kill -9 in the middle of work', () => {
  let system: System
  beforeAll(async () => {
    system = await startSystem()
  })
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
  })

  for (const victim of victims)
    it(`completes every job exactly once when the victim is: ${victim}`, async () => {
      const jobIds = await Promise.all(
        Array.from({ length: jobsInFlight }, (_, number) =>
          system.client.submitUntilAccepted({
            prompt: 'null:seconds=1',
            idempotencyKey: `${victim}-${number}`,
          }),
        ),
      )
      await Promise.any(
        jobIds.map((jobId) => system.client.untilView(jobId, (v) => v.stage === 'rendering')),
      )
      await system.kill(victim)
      const views = await expectAllCompletedOnce(system, jobIds)
      // Only the renderer costs attempts: of the job in hand, and of the prefetched one.
      const attempts = views.reduce((sum, view) => sum + view.attempt, 0) - jobsInFlight
      if (victim === 'sidecar' || victim === 'child') {
        expect(attempts).toBeGreaterThanOrEqual(1)
        expect(attempts).toBeLessThanOrEqual(2)
      } else expect(attempts).toBe(0)
    })

  it('answers every submission while the broker restarts, and completes every accepted job', async () => {
    const owner = system.clientWith(await system.createKey('restarts'))
    const answers: { status: number; retryAfter: number; jobId: string; tookMs: number }[] = []
    const isEnough = () => answers.length >= 60
    async function submitRepeatedly() {
      while (!isEnough()) {
        const sentAt = performance.now()
        const { status, headers, jobId } = await owner.submit()
        const retryAfter = Number(headers.get('retry-after'))
        answers.push({ status, retryAfter, jobId, tookMs: performance.now() - sentAt })
      }
    }
    const submitting = Promise.all([1, 2, 3, 4].map(submitRepeatedly))
    for (const [signal, after] of [
      ['SIGKILL', 10],
      ['SIGTERM', 25],
      ['SIGKILL', 40],
    ] as const) {
      await until(() => answers.length >= after, { what: `${after} answers` })
      await system.kill('nats', signal)
    }
    await submitting
    expect([...new Set(answers.map(({ status }) => status))].sort()).toEqual([201, 503])
    for (const { status, retryAfter, tookMs } of answers) {
      expect(tookMs).toBeLessThan(10_000)
      if (status === 503) expect(retryAfter).toBeGreaterThan(0)
    }
    const accepted = answers.flatMap(({ status, jobId }) => (status === 201 ? [jobId] : []))
    await expectAllCompletedOnce(system, accepted, { client: owner })
    // A job that has a record counts, even if its client got no answer.
    const known = (await owner.jobs()).jobs.map(({ job_id }) => job_id)
    expect(known).toEqual(expect.arrayContaining(accepted))
    for (const jobId of known) await expectCompletedOnce(system, jobId, { client: owner })
  })

  it('completes 18 jobs exactly once through 18 random kills', async () => {
    const seed = Number(process.env['CHAOS_SEED'] || Date.now() % 1_000_000)
    console.log(`chaos: CHAOS_SEED=${seed}`)
    const random = seededRandom(seed + 1)
    const submitting = Promise.all(
      Array.from({ length: 18 }, (_, number) =>
        system.client.submitUntilAccepted({
          prompt: `null:seconds=${random(15) / 10}`,
          idempotencyKey: `chaos-${number}`,
        }),
      ),
    )
    const killed = await killAtRandom(system, { seed, kills: 18, pauseMs: 1_000 })
    console.log(`chaos: killed ${killed.join(', ')}`)
    await expectAllCompletedOnce(system, await submitting)
  })
})
