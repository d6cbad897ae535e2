import { setTimeout as pause } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { seededRandom } from '../../harness/index.ts'
import { running, type Stack } from '../stack.ts'

const kills = 20
const jobs = 10
/** The longest pause between two kills. */
const pauseMs = 3_000
const completedWithinMs = 300_000

/** Processes that die, as opposed to containers that somebody stops. */
export function checkCrashes(stackOf: () => Stack) {
  it('loses no job when 20 processes are killed, and each has a healthy successor', async () => {
    const { project, client, measured, download } = stackOf()
    const seed = Number(process.env['CHAOS_SEED'] || 1)
    const random = seededRandom(seed)
    const submitting = Promise.all(
      Array.from({ length: jobs }, (_, number) =>
        client.submitUntilAccepted({
          prompt: `null:seconds=${random(30) / 10}`,
          idempotencyKey: `crash-${seed}-${number}`,
        }),
      ),
    )
    const victims: string[] = []
    const healthyAfterMs: number[] = []
    const successors = new Map<string, Promise<unknown>>()
    while (victims.length < kills) {
      await pause(random(pauseMs)) // The random moment is the test; there is nothing to wait for.
      const victim = running[random(running.length)] ?? 'ingest'
      // None is killed again before its successor is healthy.
      await successors.get(victim)
      victims.push(victim)
      const untilHealthy = await project.kill(victim)
      const successor = untilHealthy().then((tookMs) => healthyAfterMs.push(tookMs))
      // Its failure is seen below, or by the next who waits for this victim.
      successor.catch(() => undefined)
      successors.set(victim, successor)
    }
    await Promise.all(successors.values())
    measured['killed'] = victims.join(' ')
    measured['healthy after a kill'] = healthyAfterMs.toSorted((a, b) => a - b).join(' ')
    expect(healthyAfterMs.length).toBe(kills)

    for (const jobId of await submitting) {
      await client.untilEnded(jobId, 'completed', completedWithinMs)
      expect((await download(jobId)).length).toBeGreaterThan(0)
    }
  }, 600_000)
}
