import { decide } from '@avatar/contracts'
import { systemClock } from '@avatar/service-kit'
import { describe, expect, it } from 'vitest'
import { createPublisherTurns } from './publisher-turns.ts'

/** A token in 10 s; the bucket is empty until `letIn` says so. */
function turnsOf() {
  let nowMs = 0
  const clock = { ...systemClock, monotonicMs: () => nowMs }
  const rate = { perMinute: 6, burst: 1 }
  const state = { letIn: false, isBrokerAway: false, taken: 0 }
  const turns = createPublisherTurns({
    clock,
    rates: { submit: () => rate, read: () => rate, auth: rate },
    tokens: {
      look: () => decide(0, 0, rate),
      take: async () => {
        if (state.letIn) state.taken++
        return { ...decide(state.letIn ? 0 : 10_000, 0, rate), isBrokerAway: state.isBrokerAway }
      },
    },
  })
  const delayOf = (sequence: number, publisher = 'acme') =>
    turns.take(publisher, { sequence }).then(
      () => 0,
      (error) => error.retryAfterMs,
    )
  const pass = (ms: number) => {
    nowMs += ms
  }
  return { pass, state, turns, delayOf }
}

describe('an event over its publisher’s rate', () => {
  it('comes back when its place among those that wait has its token, and within a minute', async () => {
    const { delayOf } = turnsOf()
    const delays: number[] = []
    for (let sequence = 1; sequence <= 8; sequence++) delays.push(await delayOf(sequence))
    expect(delays).toEqual([10, 20, 30, 40, 50, 60, 60, 60].map((seconds) => seconds * 1000))
    // The oldest is next, whichever comes back first; another publisher's are not in its way.
    expect(await delayOf(3)).toBe(30_000)
    expect(await delayOf(1)).toBe(10_000)
    expect(await delayOf(9, 'other')).toBe(10_000)
  })

  it('does not count those that another replica has meanwhile', async () => {
    const { pass, delayOf } = turnsOf()
    await delayOf(1)
    await delayOf(2)
    pass(30_000)
    expect(await delayOf(3)).toBe(10_000)
  })

  it('pays once, however often it comes again', async () => {
    const { state, delayOf } = turnsOf()
    await delayOf(1)
    state.letIn = true
    expect([await delayOf(1), await delayOf(1)]).toEqual([0, 0])
    expect(state.taken).toBe(1)
  })

  it('waits for a broker that does not answer', async () => {
    const { state, turns } = turnsOf()
    Object.assign(state, { letIn: true, isBrokerAway: true })
    await expect(turns.take('acme', { sequence: 1 })).rejects.toMatchObject({
      code: 'BROKER_UNAVAILABLE',
    })
  })
})
