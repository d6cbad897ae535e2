import { aJob } from '@avatar/contracts/testing'
import { expect, it } from 'vitest'
import { type AskOutcome, createHeldAsks, type HeldAsk } from './held-asks.ts'

const graceMs = 500

/** Asks, and what became of them. */
function heldAsks(...wishes: (Partial<HeldAsk> & { ask: string })[]) {
  const held = createHeldAsks(graceMs)
  const outcomes: Record<string, AskOutcome> = {}
  const add = (wish: Partial<HeldAsk> & { ask: string }) => {
    const ask: HeldAsk = {
      ...{ workerId: 'w1', incarnation: 'i1', pool: 'l40s', secondsPerVideoSecond: 1 },
      ...{ isIdle: true, waitMs: 2_000, arrivedMs: 0, priceMicros: 530 },
      settle: (outcome) => {
        outcomes[wish.ask] = outcome
      },
      fail: (error) => {
        throw error
      },
      ...wish,
    }
    held.add(ask)
    return ask
  }
  return { held, outcomes, add, asks: wishes.map(add) }
}

it('serves idle workers first, then cheaper pools, then who has waited longest', () => {
  const { held } = heldAsks(
    { ask: 'busy', isIdle: false, priceMicros: 0 },
    { ask: 'late', arrivedMs: 2 },
    { ask: 'early', arrivedMs: 1 },
    { ask: 'cheap', arrivedMs: 3, priceMicros: 100 },
  )
  expect(held.inOrder().map(({ ask }) => ask)).toEqual(['cheap', 'early', 'late', 'busy'])
})

it('drops an ask that its worker has repeated, and settles each once', () => {
  const { held, outcomes, add, asks } = heldAsks({ ask: 'a1' })
  const again = add({ ask: 'a1', arrivedMs: 3_000, waitMs: 0 })
  expect(outcomes).toEqual({ a1: 'dropped' })
  expect(held.inOrder()).toEqual([again])
  for (const older of asks) held.settle(older, 'none')
  expect(outcomes).toEqual({ a1: 'dropped' })
})

it('gives a job that was claimed for an ask to its repetition, which its worker reads', () => {
  const { held, outcomes, add, asks } = heldAsks({ ask: 'a1' }, { ask: 'a2' })
  const [first] = asks
  if (!first) throw new Error('no ask')
  add({ ask: 'a1', arrivedMs: 3_000 })
  const job = aJob({ state: 'claimed' })
  held.give(first, job)
  expect(outcomes).toEqual({ a1: { job } })
  expect(held.inOrder().map(({ ask }) => ask)).toEqual(['a2'])
})

it('fails the repetition of an ask for which nobody knows whether a job is claimed', () => {
  const failed: unknown[] = []
  const { held, add, asks } = heldAsks({ ask: 'a1' })
  const [first] = asks
  if (!first) throw new Error('no ask')
  add({ ask: 'a1', fail: (error) => failed.push(error) })
  held.fail(first, 'away')
  expect(failed).toEqual(['away'])
  expect(held.inOrder()).toEqual([])
})

it('answers an ask until its wait and the grace time are over, and then drops it', () => {
  const { held, outcomes, asks } = heldAsks({ ask: 'a1', arrivedMs: 1_000 })
  const [ask] = asks
  if (!ask) throw new Error('no ask')
  expect(held.isAwaited(ask, 3_500)).toBe(true)
  expect(held.isAwaited(ask, 3_501)).toBe(false)
  held.dropUnawaited(3_500)
  expect(outcomes).toEqual({})
  held.dropUnawaited(3_501)
  expect(outcomes).toEqual({ a1: 'dropped' })
})

it('parks idle workers as long as they want to wait, and busy ones not at all', () => {
  const { held, outcomes } = heldAsks({ ask: 'idle' }, { ask: 'busy', isIdle: false })
  expect(held.nextOverMs()).toBe(2_000)
  held.settleUnparked(1_999)
  expect(outcomes).toEqual({ busy: 'none' })
  held.settleUnparked(2_000)
  expect(outcomes).toEqual({ busy: 'none', idle: 'none' })
  expect(held.nextOverMs()).toBe(Infinity)
})
