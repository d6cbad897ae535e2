import { describe, expect, it } from 'vitest'
import { liveThroughWakes } from '../../testing/wake-life.ts'

const kinds = [
  { name: 'few jobs', jobsPerDay: 50 },
  { name: 'many jobs', jobsPerDay: 800 },
  { name: 'a budget that is too small', jobsPerDay: 400, budgetSeconds: 9_000 },
]

/** `bench/wake` lives through millions of seconds; here are enough for a broken rule to show. */
describe.each(kinds)('wake-ups under faults, $name', ({ name: _, ...kind }) => {
  it.each([1, 2])(
    'strand no job and let in no worker too many (seed %i)',
    (seed) => {
      const lived = liveThroughWakes({ seed, steps: 100_000, ...kind })
      expect(lived.crashes).toBeGreaterThan(10)
      expect(lived.done).toBeGreaterThan(10)
      expect(lived).toMatchObject({ stuck: 0, done: lived.jobs })
      expect(lived.mostPastHello).toBeLessThanOrEqual(5)
      // Each of the five may be in the middle of a job, and hears of it after an orchestrator’s absence.
      expect(lived.overspentSeconds).toBeLessThanOrEqual(5 * (lived.longestJobSeconds + 120))
    },
    60_000,
  )
})
