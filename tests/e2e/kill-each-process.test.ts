import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  expectAllCompletedOnce,
  killAtRandom,
  processNames,
  type System,
  seededRandom,
  startSystem,
  type Victim,
} from '../harness/index.ts'

/** Jobs in flight while a process dies: one that renders, and some behind it. */
const jobsInFlight = 3

const victims: readonly Victim[] = [...processNames, 'child']

describe('kill -9 in the middle of work', () => {
  let system: System
  beforeAll(async () => {
    system = await startSystem()
  }, 90_000)
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
  }, 90_000)

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
      // Only who renders costs anybody an attempt: the job in hand, and the one fetched ahead.
      const attempts = views.reduce((sum, view) => sum + view.attempt, 0) - jobsInFlight
      if (victim === 'sidecar' || victim === 'child') {
        expect(attempts).toBeGreaterThanOrEqual(1)
        expect(attempts).toBeLessThanOrEqual(2)
      } else expect(attempts).toBe(0)
    }, 180_000)

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
    await expectAllCompletedOnce(system, await submitting, { timeoutMs: 150_000 })
  }, 300_000)
})
