import {
  attemptMessages,
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
    epoch: 1,
    code: 'RENDER_FAILED',
    rendered: aRender(),
    workerId: 'w1',
    incarnation: 'i1',
    secondsPerVideoSecond: 2,
    ...difference,
  } as Message
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
          if (decision.answer) expect(cell.answers).toContain(decision.answer.answer)
        },
      ),
      { numRuns: 5_000 },
    )
  })

  it('promises nothing that decide never does', () => {
    const reached = new Map<string, Set<string>>()
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
        expect([...(answered.get(name) ?? [])].sort(), name).toEqual(
          [...(cell.answers ?? [])].sort(),
        )
      }
  })

  it('ignores an attempt message under another epoch, and answers store with lost', () => {
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

describe('a job’s way', () => {
  it('gives the same answer again, and changes nothing, when the same claim is repeated', () => {
    const first = decide(aJob({ state: 'queued' }), message('claim'), rules)
    expect(first.answer).toEqual({ answer: 'render' })
    expect(first.job).toMatchObject({ state: 'claimed', epoch: 1, worker })
    const second = decide(first.job as JobRecord, message('claim'), rules)
    expect(second).toEqual({ answer: { answer: 'render' } })
  })

  it('makes the deadline half again as long as the estimate, but never under ten minutes', () => {
    const claim = { ...message('claim'), secondsPerVideoSecond: 200 } as Message
    expect(decide(aJob(), claim, rules).job).toMatchObject({
      estimatedSeconds: 800,
      deadlineSeconds: 1200,
    })
    expect(decide(aJob(), message('claim'), rules).job?.deadlineSeconds).toBe(600)
  })

  it('lets a job wait until its back-off is over', () => {
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

  it('ends at once when trying again cannot help', () => {
    const rendering = aJob({ state: 'rendering', epoch: 1 })
    const decision = decide(rendering, message('failed', { code: 'NO_FACE' }), rules)
    expect(decision.job).toMatchObject({ state: 'failed', error: { code: 'NO_FACE' } })
  })

  it('puts the next attempt off a little longer after each death, up to eight seconds', () => {
    const waits = [0, 1, 2, 3, 4].map((deaths) => {
      const job = aJob({ state: 'rendering', epoch: 1, deaths })
      return (decide(job, message('attempt-lost'), rules).job?.notBeforeMs ?? 0) - rules.nowMs
    })
    expect(waits).toEqual([1000, 2000, 4000, 8000, 8000])
  })

  it('gives up at the sixth death, and at the twelfth loss before the first forward', () => {
    const lost = message('attempt-lost')
    const dead = decide(aJob({ state: 'rendering', epoch: 1, deaths: 5 }), lost, rules)
    expect(dead.job).toMatchObject({ state: 'failed', error: { code: 'WORKER_LOST' } })
    const never = decide(aJob({ state: 'claimed', epoch: 1, losses: 11 }), lost, rules)
    expect(never.job).toMatchObject({ state: 'failed', error: { code: 'WORKER_LOST' } })
    const again = decide(aJob({ state: 'claimed', epoch: 1, losses: 10 }), lost, rules)
    expect(again.job).toMatchObject({ state: 'queued', losses: 11, deaths: 0 })
  })

  it('renders nothing again once an upload is noted', () => {
    const job = aJob({ state: 'storing', epoch: 1, uploaded: aRender(), worker })
    for (const kind of ['failed', 'attempt-lost', 'released', 'cancelled', 'overdue'] as const)
      expect(decide(job, message(kind), rules), kind).toEqual({})
  })

  it('keeps media for the retention after the end, and not at all after a cancel', () => {
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

describe('under random messages, lost, repeated and out of order', () => {
  it('never leaves a terminal state, never reuses an epoch, never completes what was not uploaded', () => {
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
          const heard = { ...message(kind, { epoch, code }), workerId } as Message
          const { job: next, answer } = decide(job, heard, { ...rules, nowMs })
          if (!next) continue
          expect(isTerminal(job) && next.state !== job.state).toBe(false)
          if (next.epoch !== job.epoch) {
            claims++
            expect(answer?.answer).toBe('render')
            expect(next.epoch).toBe(job.epoch + 1)
          }
          if (isTerminal(next) && !isTerminal(job)) terminalTransitions++
          if (next.state === 'completed') expect(next.result).toEqual(next.uploaded)
          if (attemptMessages.has(kind)) expect(epoch).toBe(job.epoch)
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

function add(map: Map<string, Set<string>>, key: string, value: string) {
  map.set(key, (map.get(key) ?? new Set()).add(value))
}
