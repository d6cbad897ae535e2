import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decide, type Rate, secondsToFill, tokenMs } from './gcra.ts'

const submit: Rate = { perMinute: 120, burst: 100 }
const nowMs = 1_800_000_000_000

/** Calls at these times, from a full bucket. */
function callsAt(times: readonly number[], rate: Rate) {
  let tatMs = 0
  return times.map((atMs) => {
    const decision = decide(tatMs, atMs, rate)
    tatMs = decision.tatMs
    return { atMs, ...decision }
  })
}

const rates = fc.record({
  perMinute: fc.integer({ min: 1, max: 10_000 }),
  burst: fc.integer({ min: 1, max: 1_000 }),
})
const times = fc
  .array(fc.integer({ min: 0, max: 20_000 }), { minLength: 1, maxLength: 300 })
  .map((gaps) => {
    let atMs = nowMs
    return gaps.map((gapMs) => {
      // Most calls of a client come in a row.
      if (gapMs > 15_000) atMs += gapMs
      return atMs
    })
  })

describe('a rate', () => {
  it('lets a burst in, and says how many are left and when all are back', () => {
    expect(decide(0, nowMs, submit)).toEqual({
      isLetIn: true,
      tatMs: nowMs + 500,
      remaining: 99,
      fullInSeconds: 1,
      nextInSeconds: 0,
    })
    const calls = callsAt(Array(101).fill(nowMs), submit)
    expect(calls[62]).toMatchObject({ isLetIn: true, remaining: 37, fullInSeconds: 32 })
    expect(calls[99]).toMatchObject({ isLetIn: true, remaining: 0, fullInSeconds: 50 })
    expect(calls[100]).toMatchObject({ isLetIn: false, remaining: 0, nextInSeconds: 1 })
    expect(calls[100]?.tatMs).toBe(calls[99]?.tatMs)
    expect(secondsToFill(submit)).toBe(50)
  })

  it('lets the next one in as soon as its token is there, and no sooner', () => {
    const once = { perMinute: 6, burst: 1 }
    const { tatMs } = decide(0, nowMs, once)
    expect(decide(tatMs, nowMs + 9_000, once)).toMatchObject({ isLetIn: false, nextInSeconds: 1 })
    expect(decide(tatMs, nowMs + 10_000, once)).toMatchObject({ isLetIn: true })
  })

  it('is in force soon after an operator raises it', () => {
    const slow = { perMinute: 1, burst: 100 }
    const { tatMs = 0 } = callsAt(Array(100).fill(nowMs), slow).at(-1) ?? {}
    const first = decide(tatMs, nowMs, submit)
    expect(first.isLetIn).toBe(true)
    expect(decide(first.tatMs, nowMs, submit)).toMatchObject({ isLetIn: false, nextInSeconds: 1 })
  })

  it('lets in no more than the burst and what was gained meanwhile, in any interval', () => {
    fc.assert(
      fc.property(rates, times, (rate, at) => {
        const letIn = callsAt(at, rate).filter((call) => call.isLetIn)
        for (const [from, first] of letIn.entries())
          for (const [to, last] of letIn.entries()) {
            if (to < from) continue
            const gained = (last.atMs - first.atMs) / tokenMs(rate)
            expect(to - from + 1).toBeLessThanOrEqual(rate.burst + gained + 0.02)
          }
      }),
      { numRuns: 50 },
    )
  })

  it('refuses only when its bucket is empty', () => {
    fc.assert(
      fc.property(rates, times, (rate, at) => {
        let tokens = rate.burst
        let beforeMs = at[0] ?? 0
        for (const { atMs, isLetIn } of callsAt(at, rate)) {
          tokens = Math.min(rate.burst, tokens + (atMs - beforeMs) / tokenMs(rate))
          beforeMs = atMs
          if (!isLetIn) expect(tokens).toBeLessThan(1)
          else tokens--
        }
      }),
    )
  })

  it('lets a call in after the seconds that its refusal names', () => {
    fc.assert(
      fc.property(rates, times, (rate, at) => {
        for (const { atMs, isLetIn, tatMs, nextInSeconds, fullInSeconds } of callsAt(at, rate)) {
          if (isLetIn) continue
          expect(nextInSeconds).toBeGreaterThanOrEqual(1)
          expect(decide(tatMs, atMs + nextInSeconds * 1000, rate).isLetIn).toBe(true)
          const later = decide(tatMs, atMs + fullInSeconds * 1000, rate)
          expect(later.remaining).toBe(rate.burst - 1)
        }
      }),
    )
  })
})
