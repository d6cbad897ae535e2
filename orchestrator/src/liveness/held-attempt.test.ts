import { type HeldJob, jobStates } from '@avatar/contracts'
import { aJob, aRender } from '@avatar/contracts/testing'
import { describe, expect, it } from 'vitest'
import { isOverdue, wantsAttempt } from './held-attempt.ts'

const worker = { id: 'w1', incarnation: 'i1' }
const held = { epoch: 2, stage: 'rendering' } as const

describe('an attempt that a worker holds', () => {
  it('is wanted while it is open under its epoch and not being cancelled', () => {
    const wanted = jobStates.filter((state) =>
      wantsAttempt(aJob({ state, epoch: 2, worker }), held),
    )
    expect(wanted).toEqual(['claimed', 'rendering', 'storing'])
  })

  it('is not wanted under any other epoch, but is wanted until its upload is settled', () => {
    for (const epoch of [1, 3])
      expect(wantsAttempt(aJob({ state: 'rendering', epoch: 2, worker }), { ...held, epoch })).toBe(
        false,
      )
    const stored = aJob({ state: 'storing', epoch: 2, worker, uploaded: aRender() })
    expect(wantsAttempt(stored, held)).toBe(true)
  })

  it('whose end the worker has told is wanted until that is handled, a cancelled one too', () => {
    const ended = { epoch: 2, stage: 'ended' } as const
    const wanted = jobStates.filter((state) =>
      wantsAttempt(aJob({ state, epoch: 2, worker }), ended),
    )
    expect(wanted).toEqual(['claimed', 'rendering', 'storing', 'cancelling'])
    expect(wantsAttempt(aJob({ state: 'claimed', epoch: 3, worker }), ended)).toBe(false)
  })
})

describe('a render past its deadline', () => {
  const held = (difference: Partial<HeldJob>): HeldJob => ({
    jobId: aJob().jobId,
    owner: aJob().owner,
    epoch: 1,
    stage: 'rendering',
    percent: 10,
    renderedForSeconds: 630.1,
    deadlineSeconds: 600,
    ...difference,
  })

  it('is overdue once half a minute has passed', () => {
    expect(isOverdue(held({}), 30_000)).toBe(true)
    expect(isOverdue(held({ renderedForSeconds: 630 }), 30_000)).toBe(false)
    expect(isOverdue(held({ renderedForSeconds: 600.1 }), 30_000)).toBe(false)
  })

  it('is not overdue once it is rendered, however long the upload takes', () => {
    expect(isOverdue(held({ stage: 'uploading', renderedForSeconds: 9_000 }), 30_000)).toBe(false)
  })
})
