import {
  hasOpenAttempt,
  isTerminal,
  type JobMessage,
  type JobRecord,
  jobMessages,
  jobStates,
  scaledTimings,
  transitions,
} from '@avatar/contracts'
import { aJob, aRender } from '@avatar/contracts/testing'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decide, type Message, type Rules } from './decide.ts'

/** The messages about an attempt, which count only under its epoch. */
const attemptMessages = [
  ...(['started', 'store', 'completed', 'verified', 'refused'] as const),
  ...(['failed', 'released', 'cancelled', 'attempt-lost', 'overdue'] as const),
] satisfies Extract<Message, { epoch: number }>['kind'][]
const isAboutAttempt = (kind: JobMessage) => (attemptMessages as JobMessage[]).includes(kind)

const rules: Rules = {
  nowMs: 1_700_000_100_000,
  retentionMs: 6 * 3_600_000,
  minDeadlineSeconds: 600,
  timings: scaledTimings(1),
}
const worker = { id: 'w1', incarnation: 'i1' }

function message(kind: JobMessage, difference: { epoch?: number; code?: string } = {}): Message {
  return {
    kind,
    ...(isAboutAttempt(kind) ? { epoch: 1 } : {}),
    code: 'RENDER_FAILED',
    rendered: aRender(),
    workerId: 'w1',
    incarnation: 'i1',
    secondsPerVideoSecond: 2,
    ...difference,
  } as Message // A message of each kind has these fields among others.
}

const anyState = fc.constantFrom(...jobStates)
const anyRecord = fc
  .record({
    state: anyState,
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
        fc.constantFrom('w1', 'w2'),
        (job, kind, code, workerId) => {
          const decision = decide(job, { ...message(kind, { code }), workerId } as Message, rules)
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
        fc.constantFrom('w1', 'w2'),
        (job, kind, code, workerId) => {
          const decision = decide(job, { ...message(kind, { code }), workerId } as Message, rules)
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
        const decision = decide(job, message(kind, { epoch: 1 }), rules)
        expect(decision.job, `${state} × ${kind}`).toBeUndefined()
        if (kind === 'store')
          expect(decision.answer?.answer).toBe(isTerminal(job) ? 'drop' : 'lost')
      }
  })
})

describe('a job', () => {
  it('gives a repeated claim the same answer and changes nothing', () => {
    const first = decide(aJob({ state: 'queued' }), message('claim'), rules)
    expect(first.answer).toEqual({ answer: 'render' })
    expect(first.job).toMatchObject({ state: 'claimed', epoch: 1, worker })
    const second = decide(first.job as JobRecord, message('claim'), rules)
    expect(second).toEqual({ answer: { answer: 'render' } })
  })

  it('has a deadline of one and a half times the estimate, but at least ten minutes', () => {
    const claim = { ...message('claim'), secondsPerVideoSecond: 200 } as Message
    expect(decide(aJob(), claim, rules).job).toMatchObject({
      estimatedSeconds: 800,
      deadlineSeconds: 1200,
    })
    expect(decide(aJob(), message('claim'), rules).job?.deadlineSeconds).toBe(600)
  })

  it('waits until its backoff is over', () => {
    const job = aJob({ notBeforeMs: rules.nowMs + 1500 })
    expect(decide(job, message('claim'), rules)).toEqual({
      answer: { answer: 'later', delayMs: 1500 },
    })
  })

  it('fails at the third failure of the engine, not before', () => {
    const second = decide(
      aJob({ state: 'rendering', epoch: 1, failures: 1 }),
      message('failed'),
      rules,
    )
    expect(second.job).toMatchObject({ state: 'queued', failures: 2 })
    const third = decide(
      aJob({ state: 'rendering', epoch: 1, failures: 2 }),
      message('failed'),
      rules,
    )
    expect(third.job).toMatchObject({ state: 'failed', error: { code: 'RENDER_FAILED' } })
  })

  it('fails at once when trying again cannot help', () => {
    const rendering = aJob({ state: 'rendering', epoch: 1 })
    const decision = decide(rendering, message('failed', { code: 'NO_FACE' }), rules)
    expect(decision.job).toMatchObject({ state: 'failed', error: { code: 'NO_FACE' } })
  })

  it('waits longer after each death, up to eight seconds', () => {
    const waits = [0, 1, 2, 3, 4].map((deaths) => {
      const job = aJob({ state: 'rendering', epoch: 1, deaths })
      return (decide(job, message('attempt-lost'), rules).job?.notBeforeMs ?? 0) - rules.nowMs
    })
    expect(waits).toEqual([1000, 2000, 4000, 8000, 8000])
  })

  it('fails at the sixth death, and at the twelfth loss before the first denoising step', () => {
    const lost = message('attempt-lost')
    const dead = decide(aJob({ state: 'rendering', epoch: 1, deaths: 5 }), lost, rules)
    expect(dead.job).toMatchObject({ state: 'failed', error: { code: 'WORKER_LOST' } })
    const never = decide(aJob({ state: 'claimed', epoch: 1, losses: 11 }), lost, rules)
    expect(never.job).toMatchObject({ state: 'failed', error: { code: 'WORKER_LOST' } })
    const again = decide(aJob({ state: 'claimed', epoch: 1, losses: 10 }), lost, rules)
    expect(again.job).toMatchObject({ state: 'queued', losses: 11, deaths: 0 })
  })

  it('is never rendered again once an upload is noted', () => {
    const job = aJob({ state: 'storing', epoch: 1, uploaded: aRender(), worker })
    for (const kind of ['failed', 'attempt-lost', 'released', 'cancelled', 'overdue'] as const)
      expect(decide(job, message(kind), rules), kind).toEqual({})
  })

  it('keeps its media for the retention after its end, but not after a cancel', () => {
    const stored = aJob({ state: 'storing', epoch: 1, uploaded: aRender(), worker })
    expect(decide(stored, message('verified'), rules).job).toMatchObject({
      state: 'completed',
      result: aRender(),
      expiresAtMs: rules.nowMs + rules.retentionMs,
    })
    expect(decide(aJob(), message('cancel-requested'), rules).job).toMatchObject({
      state: 'cancelled',
      expiresAtMs: rules.nowMs,
    })
  })
})

describe('a job under random messages, lost, repeated and out of order', () => {
  it('never leaves a terminal state, reuses an epoch, or completes without an upload', () => {
    const step = fc.record({
      kind: fc.constantFrom(...jobMessages),
      epochBack: fc.integer({ min: 0, max: 2 }),
      code: fc.constantFrom('RENDER_FAILED', 'RENDER_PROCESS_DIED'),
      workerId: fc.constantFrom('w1', 'w2'),
      afterMs: fc.integer({ min: 0, max: 10_000 }),
    })
    fc.assert(
      fc.property(fc.array(step, { minLength: 200, maxLength: 200 }), (steps) => {
        let job = aJob({ state: 'pending' })
        let nowMs = rules.nowMs
        let claims = 0
        let terminalTransitions = 0
        for (const { kind, epochBack, code, workerId, afterMs } of steps) {
          nowMs += afterMs
          const epoch = Math.max(0, job.epoch - epochBack)
          const received = {
            ...message(kind, { code, ...(isAboutAttempt(kind) ? { epoch } : {}) }),
            workerId,
          } as Message
          const { job: next, answer } = decide(job, received, { ...rules, nowMs })
          if (!next) continue
          expect(isTerminal(job) && next.state !== job.state).toBe(false)
          if (next.epoch !== job.epoch) {
            claims++
            expect(answer?.answer).toBe('render')
            expect(next.epoch).toBe(job.epoch + 1)
          }
          if (isTerminal(next) && !isTerminal(job)) terminalTransitions++
          if (next.state === 'completed') expect(next.result).toEqual(next.uploaded)
          if (isAboutAttempt(kind)) expect(epoch).toBe(job.epoch)
          if (!hasOpenAttempt(next) && !isTerminal(next)) expect(next.worker).toBeUndefined()
          expect(next.failures).toBeLessThanOrEqual(3)
          expect(next.deaths).toBeLessThanOrEqual(6)
          job = next
        }
        expect(claims).toBe(job.epoch)
        expect(terminalTransitions).toBeLessThanOrEqual(1)
      }),
      { numRuns: 100 },
    )
  })
})

/** The field that a decision writes without a change of state; the table allows one at most. */
function noted(before: JobRecord, after: JobRecord | undefined): string | undefined {
  if (after?.state !== before.state) return undefined
  const fields = Object.keys(after) as (keyof JobRecord)[]
  return fields.filter((field) => after[field] !== before[field]).join() || 'nothing'
}

function add(map: Map<string, Set<string>>, key: string, value: string) {
  map.set(key, (map.get(key) ?? new Set()).add(value))
}
