import { describe, expect, it } from 'vitest'
import { worstPart } from './parts.ts'

const shares = new Map([
  ['a', 1],
  ['b', 3],
])
const renders = [
  { owner: 'a', sinceMs: 0, untilMs: 1_000 },
  { owner: 'b', sinceMs: 1_000, untilMs: 4_000 },
  { owner: 'other', sinceMs: 0, untilMs: 4_000 },
]

describe('the part of an owner', () => {
  it('is one when it has what its share gives it', () => {
    const whole = { sinceMs: 0, untilMs: 4_000 }
    expect(worstPart(renders, shares, 'a', whole, 4_000)).toEqual({ gpuSeconds: 1, part: 1 })
    expect(worstPart(renders, shares, 'b', whole, 4_000)).toEqual({ gpuSeconds: 3, part: 1 })
  })

  it('is that of its worst window', () => {
    const whole = { sinceMs: 0, untilMs: 4_000 }
    expect(worstPart(renders, shares, 'a', whole, 2_000).part).toBe(0)
    expect(worstPart(renders, shares, 'b', whole, 2_000)).toEqual({ gpuSeconds: 1, part: 2 / 3 })
  })

  it('counts what lies within the whole', () => {
    const whole = { sinceMs: 500, untilMs: 2_500 }
    expect(worstPart(renders, shares, 'a', whole, 2_000)).toEqual({ gpuSeconds: 0.5, part: 1 })
  })
})
