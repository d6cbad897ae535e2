import {
  failures,
  hasOpenAttempt,
  isTerminal,
  type JobRecord,
  jobMessages,
} from '@avatar/contracts'
import { aJob, aRender } from '@avatar/contracts/testing'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { aMessage, isAboutAttempt, rules, worker } from '../../testing/a-message.ts'
import { decide } from './decide.ts'

describe('a job', () => {
  it('gives a repeated claim the same answer and changes nothing, but only to the same ask', () => {
    const first = decide(aJob({ state: 'queued' }), aMessage('claim'), rules)
    expect(first.answer).toEqual({ answer: 'render' })
    expect(first.job).toMatchObject({ state: 'claimed', epoch: 1, worker })
    const second = decide(first.job as JobRecord, aMessage('claim'), rules)
    expect(second).toEqual({ answer: { answer: 'render' } })
    // The worker is free again, and the end of its attempt is not handled yet.
    const another = decide(first.job as JobRecord, aMessage('claim', { ask: 'a2' }), rules)
    expect(another).toEqual({ answer: { answer: 'none' } })
  })

  it('has a deadline of one and a half times the estimate, but at least ten minutes', () => {
    const claim = aMessage('claim', { estimatedSeconds: 800 })
    expect(decide(aJob(), claim, rules).job).toMatchObject({
      estimatedSeconds: 800,
      deadlineSeconds: 1200,
    })
    expect(decide(aJob(), aMessage('claim'), rules).job?.deadlineSeconds).toBe(600)
  })

  it('waits until its backoff is over', () => {
    const job = aJob({ notBeforeMs: rules.nowMs + 1500 })
    expect(decide(job, aMessage('claim'), rules)).toEqual({ answer: { answer: 'none' } })
    const over = { ...rules, nowMs: rules.nowMs + 1500 }
    expect(decide(job, aMessage('claim'), over).answer).toEqual({ answer: 'render' })
  })

  it('does not wait for a backoff from before the clock was set back', () => {
    const job = aJob({ notBeforeMs: rules.nowMs + 20 * 60_000 })
    expect(decide(job, aMessage('claim'), rules).answer).toEqual({ answer: 'render' })
  })

  it('has no time before an earlier one, although the clock was set back', () => {
    const createdAtMs = rules.nowMs + 20 * 60_000
    const pending = aJob({ state: 'pending', createdAtMs })
    const queued = decide(pending, aMessage('submitted'), rules).job as JobRecord
    expect(queued.queuedAtMs).toBe(createdAtMs)
    const cancelled = decide(queued, aMessage('cancel-requested'), rules).job as JobRecord
    expect(cancelled).toMatchObject({ finishedAtMs: createdAtMs, expiresAtMs: createdAtMs })
    expect(decide(cancelled, aMessage('deleted'), rules).job?.deletedAtMs).toBe(createdAtMs)
  })

  it('keeps the turn of its first claim at every later one', () => {
    const turn = { start: 7, seconds: 3, estimatedSeconds: 3, takenAtMs: rules.nowMs - 9 }
    const claim = aMessage('claim', { turn: { start: 99, seconds: 5 } })
    expect(decide(aJob({ turn }), claim, rules).job?.turn).toEqual(turn)
    expect(decide(aJob(), claim, rules).job?.turn).toMatchObject({ start: 99, seconds: 5 })
  })

  it('gets a new epoch with each claim', () => {
    expect(decide(aJob({ epoch: 1 }), aMessage('claim'), rules).job?.epoch).toBe(2)
  })

  it('charges no attempt that another follows, whoever is to blame', () => {
    const rendering = aJob({ state: 'rendering', epoch: 1 })
    const again = decide(rendering, aMessage('failed', { code: 'REQUEST_TIMEOUT' }), rules).job
    expect(again).toMatchObject({ state: 'queued', spent: [{ end: 'failed', isCharged: false }] })
  })

  it('notes its deletion once, however often that is told', () => {
    const done = aJob({ state: 'completed', epoch: 1, deletedAtMs: rules.nowMs - 5 })
    expect(decide(done, aMessage('deleted'), rules)).toEqual({})
  })

  it('fails at the third failure of the engine, not before', () => {
    const second = decide(
      aJob({ state: 'rendering', epoch: 1, failures: 1 }),
      aMessage('failed'),
      rules,
    )
    expect(second.job).toMatchObject({ state: 'queued', failures: 2 })
    const third = decide(
      aJob({ state: 'rendering', epoch: 1, failures: 2 }),
      aMessage('failed'),
      rules,
    )
    expect(third.job).toMatchObject({ state: 'failed', error: { code: 'RENDER_FAILED' } })
  })

  it('fails at once when trying again cannot help', () => {
    const rendering = aJob({ state: 'rendering', epoch: 1 })
    const decision = decide(rendering, aMessage('failed', { code: 'NO_FACE' }), rules)
    expect(decision.job).toMatchObject({ state: 'failed', error: { code: 'NO_FACE' } })
  })

  it('tells what the engine said about the face, but of other failures only the summary', () => {
    const rendering = aJob({ state: 'rendering', epoch: 1 })
    const messageOf = (code: string) =>
      decide(rendering, aMessage('failed', { code, message: 'Rotate it by 180°.' }), rules).job
        ?.error?.message
    expect(messageOf('FACE_UNUSABLE')).toBe('Rotate it by 180°.')
    expect(messageOf('NO_FACE')).toBe('Rotate it by 180°.')
    expect(messageOf('AUDIO_UNREADABLE')).toBe(failures.AUDIO_UNREADABLE.summary)
    const silent = decide(rendering, aMessage('failed', { code: 'NO_FACE', message: '' }), rules)
    expect(silent.job?.error?.message).toBe(failures.NO_FACE.summary)
  })

  it('waits longer after each death, up to eight seconds', () => {
    const waits = [0, 1, 2, 3, 4].map((deaths) => {
      const job = aJob({ state: 'rendering', epoch: 1, deaths })
      return (decide(job, aMessage('attempt-lost'), rules).job?.notBeforeMs ?? 0) - rules.nowMs
    })
    expect(waits).toEqual([1000, 2000, 4000, 8000, 8000])
  })

  it('fails at the sixth death, and at the twelfth loss before the first denoising step', () => {
    const lost = aMessage('attempt-lost')
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
      expect(decide(job, aMessage(kind), rules), kind).toEqual({})
  })

  it('fails when its render is overdue, even if nobody reported that it began', () => {
    for (const state of ['claimed', 'rendering'] as const) {
      const job = aJob({ state, epoch: 1, worker })
      expect(decide(job, aMessage('overdue'), rules).job, state).toMatchObject({
        state: 'failed',
        error: { code: 'DEADLINE_EXCEEDED' },
      })
    }
  })

  it('keeps its media for the retention after its end, but not after a cancel', () => {
    const stored = aJob({ state: 'storing', epoch: 1, uploaded: aRender(), worker })
    expect(decide(stored, aMessage('verified'), rules).job).toMatchObject({
      state: 'completed',
      result: aRender(),
      expiresAtMs: rules.nowMs + rules.retentionMs,
    })
    expect(decide(aJob(), aMessage('cancel-requested'), rules).job).toMatchObject({
      state: 'cancelled',
      expiresAtMs: rules.nowMs,
    })
  })
})

/** The epochs that the record books one by one. */
const bookedEpochs = ({ spent = [] }: JobRecord) => spent.map(({ epoch }) => epoch)

/** An attempt is booked with the write that ends it, once, and the turn is settled with the job. */
function expectBooked(before: JobRecord, after: JobRecord) {
  const hadAttempt = hasOpenAttempt(before) && !hasOpenAttempt(after)
  const expected = hadAttempt ? [...bookedEpochs(before), before.epoch] : bookedEpochs(before)
  expect(bookedEpochs(after)).toEqual(expected)
  const charged = (after.spent ?? []).filter(({ isCharged }) => isCharged)
  if (after.state === 'completed') expect(charged.map(({ epoch }) => epoch)).toEqual([after.epoch])
  if (!isTerminal(after)) expect(charged).toEqual([])
  if (before.turn) expect(after.turn?.start).toBe(before.turn.start)
  if (!isTerminal(after) || isTerminal(before)) return
  const last = hadAttempt ? after.spent?.at(-1)?.gpuSeconds : 0
  if (after.turn) expect(after.turn.seconds).toBe(last)
}

describe('a job under random messages, lost, repeated and out of order', () => {
  it('never leaves a terminal state, reuses an epoch, or completes without an upload', () => {
    const step = fc.record({
      kind: fc.constantFrom(...jobMessages),
      epochBack: fc.integer({ min: 0, max: 2 }),
      code: fc.constantFrom('RENDER_FAILED', 'RENDER_PROCESS_DIED'),
      ask: fc.constantFrom('a1', 'a2'),
      gpuSeconds: fc.option(fc.double({ min: 0, max: 100, noNaN: true })),
      afterMs: fc.integer({ min: 0, max: 10_000 }),
    })
    fc.assert(
      fc.property(fc.array(step, { minLength: 200, maxLength: 200 }), (steps) => {
        let job = aJob({ state: 'pending' })
        let nowMs = rules.nowMs
        let claims = 0
        let terminalTransitions = 0
        for (const { kind, epochBack, code, ask, gpuSeconds, afterMs } of steps) {
          nowMs += afterMs
          const epoch = Math.max(0, job.epoch - epochBack)
          const used = gpuSeconds === null ? undefined : { gpuSeconds }
          const about = { code, ask, used, ...(isAboutAttempt(kind) ? { epoch } : {}) }
          const { job: next, answer } = decide(job, aMessage(kind, about), { ...rules, nowMs })
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
          expectBooked(job, next)
          expect(next.failures).toBeLessThanOrEqual(3)
          expect(next.deaths).toBeLessThanOrEqual(6)
          job = next
        }
        expect(claims).toBe(job.epoch)
        expect(bookedEpochs(job)).toHaveLength(job.epoch - (hasOpenAttempt(job) ? 1 : 0))
        expect(terminalTransitions).toBeLessThanOrEqual(1)
      }),
      { numRuns: 100 },
    )
  })
})
