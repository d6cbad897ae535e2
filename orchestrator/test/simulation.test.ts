import { expect, it } from 'vitest'
import { liveThrough, tellLife } from '../testing/index.ts'
import type { PlannedJob, PlannedLife } from '../testing/simulation/simulated-life.ts'

/** At night there are more; a seed that failed is given again. */
const steps = Number(process.env['SIMULATION_STEPS'] || 20_000)
const seed = Number(process.env['SIMULATION_SEED'] || Date.now() % 1_000_000)

it(
  'keeps every promise through simulated lives full of faults',
  async () => {
    console.log(`simulation: SIMULATION_SEED=${seed}`)
    const lived = await liveThrough({ steps, seed })
    console.log(
      `simulation: ${lived.steps} steps, ${lived.lives} lives, ${lived.attempts} attempts, ` +
        `${Math.round(lived.simulatedSeconds / 3600)} simulated hours, ${JSON.stringify(lived.ends)}`,
    )
    // Faults are neither so many nor so few that one kind of end never occurs.
    expect(Object.keys(lived.ends).sort()).toEqual(['cancelled', 'completed', 'failed'])
  },
  80 * 60_000,
)

const job = (atMs: number, difference: Partial<PlannedJob> = {}): PlannedJob => ({
  ...{ atMs, owner: 0, seconds: 1, isHigh: false, door: 'rest', trouble: 'none' },
  ...{ cancelAfterMs: undefined, copies: 1, isAbandoned: false, ...difference },
})

/** Lives in which something was wrong once, as fast-check has left them. */
const kept: Readonly<Record<string, PlannedLife>> = {
  'a worker that asked again during the claim was given two jobs, and took one': {
    ...{ seed: 170_286, orchestrators: 1, isScaled: false },
    jobs: [job(0), job(0), job(0)],
    faults: [
      { afterMs: 1_501, kind: 'broker away', which: 0, forMs: 20_000 },
      { afterMs: 12_331, kind: 'broker away', which: 0, forMs: 120_000 },
    ],
  },
  'an upload that a suspended worker finished after the deletion stayed until the next sweep': {
    ...{ seed: 806_138, orchestrators: 2, isScaled: false },
    jobs: [job(0)],
    faults: [
      { afterMs: 2_000, kind: 'kill worker', which: 0, forMs: 40_000 },
      { afterMs: 5_474, kind: 'set a clock', which: 0, forMs: 1_000 },
      { afterMs: 7_213, kind: 'suspend worker', which: 0, forMs: 120_000 },
    ],
  },
}

it.each(Object.entries(kept))('%s', async (_, plan) => {
  const story = await tellLife(plan)
  expect(story.filter((line) => / losses [1-9]/.test(line) || /^I\d /.test(line))).toEqual([])
  expect(story.filter((line) => /job\.completed/.test(line))).toHaveLength(plan.jobs.length)
})
