import { type JobRecord, limits, type Spent } from '@avatar/contracts'
import { aJob, aRender } from '@avatar/contracts/testing'
import { describe, expect, it } from 'vitest'
import { aMessage, rules, worker } from '../../testing/a-message.ts'
import { booked, settledTurn } from './booking.ts'
import { decide, type Message } from './decide.ts'

const turn = { start: 40, seconds: 8 }
const used = { gpuSeconds: 12.5 }

/** A job whose first attempt renders, since three seconds. */
const rendering = (difference: Partial<JobRecord> = {}) =>
  aJob({
    ...{ state: 'rendering', epoch: 1, worker, turn, startedAtMs: rules.nowMs - 3_000 },
    ...difference,
  })

const after = (job: JobRecord, ...messages: Message[]) =>
  messages.reduce((record, message) => decide(record, message, rules).job ?? record, job)

describe('an attempt is booked with the write that ends it', () => {
  it.each([
    ['released', { end: 'released', isCharged: false, isMeasured: true }],
    ['failed', { end: 'failed', isCharged: false, isMeasured: true }],
    ['attempt-lost', { end: 'lost', isCharged: false, isMeasured: false }],
    ['overdue', { end: 'overdue', isCharged: false, isMeasured: false }],
  ] as const)('%s', (kind, expected) => {
    const job = after(rendering(), aMessage(kind, { used }))
    expect(job.spent).toEqual([
      { epoch: 1, pool: 'l40s', gpuSeconds: 12.5, micros: 6_625, ...expected },
    ])
  })

  it('completed: by what was noted with the upload, charged to the owner', () => {
    const stored = after(rendering(), aMessage('completed', { used }))
    expect(stored).toMatchObject({ state: 'storing', used })
    expect(stored.spent).toBeUndefined()
    const done = after(stored, aMessage('verified'))
    expect(done.spent).toMatchObject([{ end: 'completed', gpuSeconds: 12.5, isCharged: true }])
    expect(done.turn).toEqual({ start: 40, seconds: 12.5 })
  })

  it('refused: by what was noted, and the next attempt notes its own', () => {
    const again = after(rendering(), aMessage('completed', { used }), aMessage('refused'))
    expect(again).toMatchObject({ state: 'queued', turn })
    expect(again.spent).toMatchObject([{ end: 'refused', gpuSeconds: 12.5, isCharged: false }])
    expect(again.used).toBeUndefined()
  })

  it('failed by the fault of the owner, who pays for it', () => {
    const failed = after(rendering(), aMessage('failed', { code: 'NO_FACE', used }))
    expect(failed.spent).toMatchObject([{ end: 'failed', isCharged: true }])
    expect(failed.turn?.seconds).toBe(12.5)
  })

  it('cancelled by the owner, who pays for it, unless the worker was lost or failed meanwhile', () => {
    const cancelling = after(rendering(), aMessage('cancel-requested'))
    expect(cancelling.spent).toBeUndefined()
    const chargedFor = (message: Message) => {
      const job = after(cancelling, message)
      expect(job.state, message.kind).toBe('cancelled')
      return job.spent?.map(({ end, isCharged }) => [end, isCharged])
    }
    expect(chargedFor(aMessage('cancelled', { used }))).toEqual([['cancelled', true]])
    expect(chargedFor(aMessage('completed', { used }))).toEqual([['cancelled', true]])
    expect(chargedFor(aMessage('attempt-lost'))).toEqual([['lost', false]])
    expect(chargedFor(aMessage('failed'))).toEqual([['failed', false]])
    expect(chargedFor(aMessage('released'))).toEqual([['released', false]])
    const uploaded = { ...cancelling, uploaded: aRender(), used }
    expect(after(uploaded, aMessage('refused')).spent).toMatchObject([{ end: 'refused' }])
    expect(after(uploaded, aMessage('verified')).spent).toMatchObject([{ end: 'completed' }])
  })

  it('once: whatever comes later about it books nothing', () => {
    const queued = after(rendering(), aMessage('released', { used }), aMessage('attempt-lost'))
    expect(queued.spent).toHaveLength(1)
    const again = after(queued, aMessage('claim', { ask: 'a2' }), aMessage('cancelled', { used }))
    expect(again.spent).toHaveLength(1)
    expect(booked({ ...rendering(), spent: queued.spent }, ended, 0).spent).toEqual(queued.spent)
  })
})

const ended = { end: 'failed', isCharged: false, used, isMeasured: true } as const

describe('an attempt whose worker told nothing', () => {
  it('is booked by the time since its first denoising step, at most by its estimate', () => {
    const of = (job: JobRecord) => after(job, aMessage('attempt-lost')).spent
    expect(of(rendering())).toMatchObject([{ gpuSeconds: 3, isMeasured: false }])
    expect(of(rendering({ estimatedSeconds: 2 }))).toMatchObject([{ gpuSeconds: 2 }])
    expect(of(rendering({ startedAtMs: rules.nowMs + 9_000 }))).toMatchObject([{ gpuSeconds: 0 }])
    expect(of(aJob({ state: 'claimed', epoch: 1, worker }))).toMatchObject([{ gpuSeconds: 0 }])
  })

  it('costs nothing if it does not name its pool, and is not called measured', () => {
    const job = rendering({ worker: { id: 'w1', incarnation: 'i1' } })
    expect(after(job, aMessage('released')).spent).toMatchObject([
      { pool: 'unknown', micros: 0, isMeasured: false },
    ])
  })
})

describe('the turn of a job', () => {
  it('is taken by its first claim and kept by the later ones', () => {
    const first = after(aJob(), aMessage('claim', { turn: { start: 7, seconds: 8 } }))
    const again = after(first, aMessage('released'), aMessage('claim', { ask: 'a2' }))
    expect(again).toMatchObject({ epoch: 2, turn: { start: 7, seconds: 8 } })
  })

  it('takes no time if no attempt was running when the job ended', () => {
    const queued = after(rendering(), aMessage('released', { used }))
    expect(after(queued, aMessage('cancel-requested')).turn).toEqual({ start: 40, seconds: 0 })
    expect(after(aJob(), aMessage('cancel-requested')).turn).toBeUndefined()
    expect(settledTurn(aJob({ turn }), undefined)).toEqual({ turn: { start: 40, seconds: 0 } })
  })
})

it('keeps the latest attempts one by one, and adds the older ones up', () => {
  const attempts = limits.attemptsBooked + 3
  let job = aJob({ turn })
  for (let epoch = 1; epoch <= attempts; epoch++)
    job = booked({ ...job, state: 'rendering', epoch, worker }, { ...ended, end: 'released' }, 0)
  const spent: readonly Spent[] = job.spent ?? []
  expect(spent).toHaveLength(limits.attemptsBooked)
  expect(spent[0]).toMatchObject({ epoch: 4, gpuSeconds: 4 * 12.5, micros: 4 * 6_625 })
  expect(spent.at(-1)).toMatchObject({ epoch: attempts, gpuSeconds: 12.5 })
})
