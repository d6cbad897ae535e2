import fc from 'fast-check'
import { liveSimulated } from './live-simulated.ts'
import { plannedLives } from './planned-lives.ts'
import type { PlannedLife } from './simulated-life.ts'

/** What came of many lives. */
export type LivedThrough = {
  lives: number
  steps: number
  attempts: number
  simulatedSeconds: number
  ends: Readonly<Record<string, number>>
}

/** A life that failed is made smaller for so long at most. */
const smallerWithinMs = 60_000
/** Lives are drawn in batches, each from a seed of its own, until there were steps enough. */
const livesOfBatch = 25

/**
 * Lives through lives until there were so many steps.
 *
 * @throws Error with the smallest life that fast-check finds to fail, and what its seed is
 */
export async function liveThrough(options: { steps: number; seed: number }): Promise<LivedThrough> {
  const sum = { lives: 0, steps: 0, attempts: 0, simulatedSeconds: 0 }
  const ends: Record<string, number> = {}
  for (let batch = 0; sum.steps < options.steps; batch++) {
    const property = fc.asyncProperty(plannedLives, async (plan) => {
      const lived = await liveSimulated(plan)
      if (lived.violations.length > 0) throw new Error(lived.violations.join('\n'))
      sum.lives++
      sum.steps += lived.steps
      sum.attempts += lived.attempts
      sum.simulatedSeconds += lived.simulatedSeconds
      for (const [state, jobs] of Object.entries(lived.ends))
        ends[state] = (ends[state] ?? 0) + jobs
    })
    await fc.assert(property, {
      ...{ seed: options.seed + batch, numRuns: livesOfBatch },
      interruptAfterTimeLimit: smallerWithinMs,
    })
  }
  return { ...sum, ends }
}

/** Tells the story of one life, for somebody who looks for the fault in it. */
export async function tellLife(plan: PlannedLife): Promise<readonly string[]> {
  const lines: string[] = []
  const { violations } = await liveSimulated(plan, (line) => lines.push(line))
  return [...lines, ...violations]
}
