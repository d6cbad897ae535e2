import fc from 'fast-check'
import {
  faultKinds,
  type PlannedFault,
  type PlannedJob,
  type PlannedLife,
} from './simulated-life.ts'

const job: fc.Arbitrary<PlannedJob> = fc.record({
  atMs: fc.integer({ min: 0, max: 60_000 }),
  owner: fc.constantFrom(0, 1, 2),
  seconds: fc.integer({ min: 1, max: 20 }),
  isHigh: fc.boolean(),
  door: fc.constantFrom('rest', 'rest', 'rest', 'event'),
  trouble: fc.constantFrom(
    ...(['none', 'none', 'none', 'none', 'none', 'none', 'none'] as const),
    ...(['fails once', 'fails always', 'unusable', 'kills workers'] as const),
  ),
  cancelAfterMs: fc.oneof(
    { weight: 4, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 60_000 }) },
  ),
  copies: fc.constantFrom(1, 1, 1, 2),
  isAbandoned: fc.constantFrom(...Array(9).fill(false), true),
})

const fault: fc.Arbitrary<PlannedFault> = fc.record({
  afterMs: fc.integer({ min: 0, max: 15_000 }),
  kind: fc.constantFrom(...faultKinds),
  which: fc.nat(31),
  forMs: fc.constantFrom(1_000, 5_000, 20_000, 40_000, 70_000, 120_000),
})

/** Lives of every kind: from one job without any fault to a dozen of both. */
export const plannedLives: fc.Arbitrary<PlannedLife> = fc.record({
  seed: fc.nat(1_000_000),
  orchestrators: fc.constantFrom(1, 2),
  isScaled: fc.boolean(),
  jobs: fc.array(job, { minLength: 1, maxLength: 12, size: 'max' }),
  faults: fc.array(fault, { maxLength: 12, size: 'max' }),
})
