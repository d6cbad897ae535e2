import { createUsage, type OwnerLimits, timings } from '@avatar/contracts'
import { aJobPosting } from '@avatar/contracts/testing'
import { systemClock } from '@avatar/service-kit'
import { describe, expect, it } from 'vitest'
import { fairRulesOf } from './fair-rules.ts'

const alice = 'o_abcDEF123456'

/** The rules for an owner with these limits, who was charged 10 s (0.0053) today and as much before. */
function rules(own: OwnerLimits, defaults: OwnerLimits = {}) {
  const usage = createUsage()
  for (const day of ['2026-11-28', '2026-11-29'])
    usage.note({ kind: 'job', day, body: aJobPosting({ owner: alice }) })
  return fairRulesOf({
    ...{ timings, defaults },
    clock: { ...systemClock, nowMs: () => Date.parse('2026-11-29T12:00:00Z') },
    limits: { limitsOf: (owner) => (owner === alice ? own : {}) },
    ledger: { usage: () => usage },
  })
}

describe('the rules of the fair order', () => {
  it('give each owner its share, or the default', () => {
    expect(rules({ share: 7 }, { share: 2 }).shareOf(alice)).toBe(7)
    expect(rules({ share: 7 }, { share: 2 }).shareOf('acme')).toBe(2)
    expect(rules({}).shareOf(alice)).toBe(1)
  })

  it('hold an owner back who renders as many jobs as it may', () => {
    const { heldBack } = rules({ renders: 2 })
    expect([1, 2, 3].map((running) => heldBack(alice, running))).toEqual([
      ...[undefined, 'own_jobs', 'own_jobs'],
    ])
    expect(heldBack('acme', 100)).toBe(undefined)
  })

  it.each<[OwnerLimits, string | undefined]>([
    [{ gpuSecondsPerDay: 10 }, 'budget'],
    [{ gpuSecondsPerDay: 10.5 }, undefined],
    [{ budgetPerDayMicros: 5_300 }, 'budget'],
    [{ budgetPerDayMicros: 5_301 }, undefined],
    [{ budgetPerMonthMicros: 10_600 }, 'budget'],
    [{ budgetPerMonthMicros: 10_601, budgetPerDayMicros: 9_000 }, undefined],
    [{}, undefined],
  ])('hold an owner back whose day or month is spent: %j', (own, held) => {
    expect(rules(own).heldBack(alice, 0)).toBe(held)
  })

  it('count what is charged to the owner alone', () => {
    expect(rules({}, { budgetPerDayMicros: 1 }).heldBack('acme', 0)).toBe(undefined)
  })
})
