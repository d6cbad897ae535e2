import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  expectAllCompletedOnce,
  killAtRandom,
  processNames,
  type SubmitAnswer,
  type System,
  seededRandom,
  startSystem,
  submitSteadily,
  until,
  type Victim,
} from '../harness/index.ts'

/** Jobs in flight while a process dies: one renders, the others wait. */
const jobsInFlight = 3

const brokerRestarts = Number(process.env['BROKER_RESTARTS'] || 3)
const acceptedBetweenRestarts = 10
/** A night's restarts take longer than a test usually may. */
const restartsTimeoutMs = 600_000 + brokerRestarts * 60_000

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

  it(
    'answers every submission while the broker restarts, and completes every accepted job',
    async () => {
      const owner = system.clientWith(await system.createKey('restarts'))
      const load = submitSteadily(owner, 20)
      const { answers } = load
      const isAccepted = ({ status }: SubmitAnswer) => status === 201
      const acceptedSoFar = () => answers.filter(isAccepted).length
      let longestAwayMs = 0
      let longestRecoveryMs = 0
      for (let restart = 0; restart < brokerRestarts; restart++) {
        const enough = acceptedSoFar() + acceptedBetweenRestarts
        await until(() => acceptedSoFar() >= enough, { what: `${enough} accepted submissions` })
        const signalledAtMs = performance.now()
        await system.kill('nats', restart % 2 === 0 ? 'SIGKILL' : 'SIGTERM')
        const returnedAtMs = performance.now()
        const normal = await until(
          () => answers.find((answer) => isAccepted(answer) && answer.sentAtMs > returnedAtMs),
          { what: 'an accepted submission after the return' },
        )
        const normalAtMs = normal.sentAtMs + normal.tookMs
        longestAwayMs = Math.max(longestAwayMs, returnedAtMs - signalledAtMs)
        longestRecoveryMs = Math.max(longestRecoveryMs, normalAtMs - returnedAtMs)
      }
      await load.stop()
      expect([...new Set(answers.map(({ status }) => status))].sort()).toEqual([201, 503])
      for (const { status, retryAfterSeconds, tookMs } of answers) {
        expect(tookMs).toBeLessThan(10_000)
        if (status === 503) expect(retryAfterSeconds).toBeGreaterThan(0)
      }
      const accepted = answers.filter(isAccepted).map(({ jobId }) => jobId)
      await expectAllCompletedOnce(system, accepted, { client: owner })
      // A job that has a record counts, even if its client got no answer.
      const known = await owner.allJobs()
      expect(known).toEqual(expect.arrayContaining(accepted))
      const unacknowledged = known.filter((jobId) => !accepted.includes(jobId))
      await expectAllCompletedOnce(system, unacknowledged, { client: owner })
      const seconds = (ms: number) => (ms / 1_000).toFixed(1)
      console.log(
        `broker restarts: ${brokerRestarts} restarts, ${accepted.length} submissions accepted, ` +
          `${answers.length - accepted.length} refused, each answer within ` +
          `${seconds(Math.max(...answers.map(({ tookMs }) => tookMs)))} s, ` +
          `broker away for ${seconds(longestAwayMs)} s and normal ${seconds(longestRecoveryMs)} s later ` +
          `at most, ${known.length} jobs completed once`,
      )
    },
    restartsTimeoutMs,
  )

  it('works on when the broker has lost its streams without messages, as at a start on a full disk', async () => {
    const { manager } = await system.broker()
    for (const name of ['EVENTS', 'INTAKE', 'SCHED', 'NOTIFY', 'DLQ'])
      await manager.streams.delete(name)
    await system.kill('nats')
    const jobId = await system.client.submitUntilAccepted({
      prompt: 'null:seconds=1',
      idempotencyKey: 'lost-streams',
    })
    await system.client.untilView(jobId, (view) => view.stage === 'completed')
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
