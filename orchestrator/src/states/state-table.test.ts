import { isTerminal, type JobRecord, jobMessages, jobStates, transitions } from '@avatar/contracts'
import { aJob, aRender } from '@avatar/contracts/testing'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { aMessage, attemptMessages, rules, worker } from '../../testing/a-message.ts'
import { decide } from './decide.ts'

const anyRecord = fc
  .record({
    state: fc.constantFrom(...jobStates),
    failures: fc.integer({ min: 0, max: 2 }),
    deaths: fc.integer({ min: 0, max: 5 }),
    losses: fc.integer({ min: 0, max: 11 }),
    isUploaded: fc.boolean(),
    waits: fc.boolean(),
  })
  .map(({ state, isUploaded, waits, ...counters }): JobRecord => {
    const isOpen = ['claimed', 'rendering', 'storing', 'cancelling'].includes(state)
    return aJob({
      state,
      ...counters,
      epoch: isOpen ? 1 : 0,
      ...(isOpen ? { worker } : {}),
      ...(isUploaded && (state === 'storing' || state === 'cancelling')
        ? { uploaded: aRender() }
        : {}),
      ...(waits ? { notBeforeMs: rules.nowMs + 4_000 } : {}),
    })
  })

describe('the state table', () => {
  it('allows everything that decide does, for any record and message', () => {
    fc.assert(
      fc.property(
        anyRecord,
        fc.constantFrom(...jobMessages),
        fc.constantFrom('RENDER_FAILED', 'RENDER_PROCESS_DIED', 'NO_FACE'),
        fc.constantFrom('a1', 'a2'),
        (job, kind, code, ask) => {
          const decision = decide(job, aMessage(kind, { code, ask }), rules)
          const cell = transitions[job.state][kind]
          expect(cell.next).toContain(decision.job?.state ?? job.state)
          expect([undefined, cell.notes]).toContain(noted(job, decision.job))
          if (decision.answer) expect(cell.answers).toContain(decision.answer.answer)
        },
      ),
      { numRuns: 5_000 },
    )
  })

  it('promises nothing that decide never does', () => {
    const reached = new Map<string, Set<string>>()
    const notes = new Map<string, Set<string>>()
    const answered = new Map<string, Set<string>>()
    fc.assert(
      fc.property(
        anyRecord,
        fc.constantFrom(...jobMessages),
        fc.constantFrom('RENDER_FAILED', 'NO_FACE'),
        fc.constantFrom('a1', 'a2'),
        (job, kind, code, ask) => {
          const decision = decide(job, aMessage(kind, { code, ask }), rules)
          const cell = `${job.state} × ${kind}`
          add(reached, cell, decision.job?.state ?? job.state)
          const field = noted(job, decision.job)
          if (field) add(notes, cell, field)
          if (decision.answer) add(answered, cell, decision.answer.answer)
        },
      ),
      { numRuns: 30_000 },
    )
    for (const state of jobStates)
      for (const kind of jobMessages) {
        const cell = transitions[state][kind]
        const name = `${state} × ${kind}`
        expect([...(reached.get(name) ?? [])].sort(), name).toEqual([...cell.next].sort())
        expect([...(notes.get(name) ?? [])], name).toEqual(cell.notes ? [cell.notes] : [])
        expect([...(answered.get(name) ?? [])].sort(), name).toEqual(
          [...(cell.answers ?? [])].sort(),
        )
      }
  })

  it('ignores a message about an attempt under another epoch, and answers store with lost', () => {
    for (const state of jobStates)
      for (const kind of attemptMessages) {
        const job = aJob({ state, epoch: 2, worker })
        const decision = decide(job, aMessage(kind, { epoch: 1 }), rules)
        expect(decision.job, `${state} × ${kind}`).toBeUndefined()
        if (kind === 'store')
          expect(decision.answer?.answer).toBe(isTerminal(job) ? 'drop' : 'lost')
      }
  })
})

/** The field that a decision writes without a change of state; the table allows one at most. */
function noted(before: JobRecord, after: JobRecord | undefined): string | undefined {
  if (after?.state !== before.state) return undefined
  const fields = Object.keys(after) as (keyof JobRecord)[]
  // The GPU time is noted with the upload, and books nothing yet.
  const isNew = (field: keyof JobRecord) => field !== 'used' && after[field] !== before[field]
  return fields.filter(isNew).join() || 'nothing'
}

function add(map: Map<string, Set<string>>, key: string, value: string) {
  map.set(key, (map.get(key) ?? new Set()).add(value))
}
