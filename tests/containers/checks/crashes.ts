import { setTimeout as pause } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { pick, seededRandom } from '../../harness/index.ts'
import { running, type Stack } from '../stack.ts'

const kills = 20
const jobs = 10
/** The longest pause between two kills. */
const pauseMs = 3_000
const completedWithinMs = 300_000
/** A killed process has a healthy successor by then, where a start in order takes less than a third of it. */
const healthyWithinMs = 15_000
/** What the others need to be healthy: their own successors are waited for first. */
const needed: readonly string[] = ['nats', 's3']
/** On a busier machine the bound is so many starts in order: only a process that waits for something takes longer. */
const startsInOrder = 3

type Outage = { victim: string; killedAtMs: number; healthyAtMs: number }

/** How long the successor alone was waited for, and not what it needs, which was away meanwhile too. */
function ownMs({ victim, killedAtMs, healthyAtMs }: Outage, all: readonly Outage[]): number {
  const others = needed.includes(victim) ? [] : all.filter((one) => needed.includes(one.victim))
  const ends = others
    .filter((one) => one.killedAtMs < healthyAtMs && one.healthyAtMs > killedAtMs)
    .map((one) => one.healthyAtMs)
  return healthyAtMs - Math.max(killedAtMs, ...ends)
}

/** Processes that die, as opposed to containers that somebody stops. */
export function checkCrashes(stackOf: () => Stack) {
  it('loses no job when 20 processes are killed, and each has a healthy successor in time', async () => {
    const { project, client, measured, startMs, download } = stackOf()
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
    const outages: Outage[] = []
    const successors = new Map<string, Promise<unknown>>()
    while (victims.length < kills) {
      await pause(random(pauseMs)) // The random moment is the test; there is nothing to wait for.
      const victim = pick(running, random)
      // None is killed again before its successor is healthy.
      await successors.get(victim)
      victims.push(victim)
      const killedAtMs = performance.now()
      const untilHealthy = await project.kill(victim)
      const successor = untilHealthy().then(() =>
        outages.push({ victim, killedAtMs, healthyAtMs: performance.now() }),
      )
      // Its failure is seen below, or by the next who waits for this victim.
      successor.catch(() => undefined)
      successors.set(victim, successor)
    }
    await Promise.all(successors.values())
    measured['killed'] = victims.join(' ')
    const waited = outages.map((outage) => ({
      victim: outage.victim,
      tookMs: Math.round(outage.healthyAtMs - outage.killedAtMs),
      ownMs: Math.round(ownMs(outage, outages)),
    }))
    measured['healthy after a kill, with what it needs, alone'] = waited
      .map((one) => `${one.victim} ${one.tookMs} ${one.ownMs}`)
      .join(', ')
    measured['healthy after a start in order'] = Object.fromEntries(startMs)
    expect(waited.length).toBe(kills)
    const boundMs = (victim: string) =>
      Math.max(healthyWithinMs, startsInOrder * (startMs.get(victim) ?? 0))
    expect(waited.filter((one) => one.ownMs > boundMs(one.victim))).toEqual([])

    for (const jobId of await submitting) {
      await client.untilEnded(jobId, 'completed', completedWithinMs)
      expect((await download(jobId)).length).toBeGreaterThan(0)
    }
  }, 600_000)
}
