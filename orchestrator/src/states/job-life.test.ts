import type { JobState } from '@avatar/contracts'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { get, Life } from '../../testing/life.ts'
import { expectHonest, expectLegalChange } from '../../testing/life-invariants.ts'
import { type Step, take, ways } from '../../testing/life-steps.ts'

/** Long enough for a job to fail by deaths, and short enough to read when the test fails. */
const stepsOfOneLife = 300
const lives = Number(process.env['JOB_LIFE_RUNS'] || 250)
const leastSteps = 20_000

test('every job ends once, whatever is lost, repeated, reordered or killed', () => {
  const step: fc.Arbitrary<Step> = fc.record({
    way: fc.constantFrom(...ways),
    which: fc.nat(31),
    among: fc.nat(31),
  })
  const ends = new Set<JobState>()
  let steps = 0
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 1, maxLength: stepsOfOneLife, size: 'max' }),
      fc.record({ hardship: fc.constantFrom(1, 2, 32), hasPoison: fc.boolean() }),
      (taken, kind) => {
        const life = new Life(kind, expectLegalChange)
        for (const each of taken) {
          take(life, each)
          expectHonest(life)
        }
        steps += taken.length
        life.settle()
        expectHonest(life)
        expect(life.isQuiet()).toBe(true)
        for (const { jobId, state, spent = [] } of life.jobs.values()) {
          expect([...get(life.facts, jobId)]).toEqual([`job.${state}`])
          expect(life.timers.has(jobId)).toBe(true)
          expect(life.postings.get(jobId)).toMatchObject({ state, attempts: spent })
          ends.add(state)
        }
      },
    ),
    { numRuns: lives },
  )
  expect(steps).toBeGreaterThanOrEqual(leastSteps)
  // The faults are neither so many nor so few that one kind of end never occurs.
  expect([...ends].sort()).toEqual(['cancelled', 'completed', 'failed'])
})
