import { describe, expect, it } from 'vitest'
import { createRestartPauses } from './restart-pauses.ts'

const failedAtOnce = { lastedMs: 100, wasEnded: false }

describe('the pauses before restarts', () => {
  it('grow from a second to a minute while a process keeps failing', () => {
    const pauseAfter = createRestartPauses()
    const pauses = Array.from({ length: 8 }, () => pauseAfter(failedAtOnce))
    expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000])
  })

  it('also grow when each run lasts for some seconds, and begin anew after a good run', () => {
    const pauseAfter = createRestartPauses()
    const limping = { lastedMs: 20_000, wasEnded: false }
    expect([pauseAfter(limping), pauseAfter(limping)]).toEqual([1_000, 2_000])
    expect(pauseAfter({ lastedMs: 60_000, wasEnded: false })).toBe(1_000)
  })

  it('stay short for a process that somebody ended, however often', () => {
    const pauseAfter = createRestartPauses()
    const ended = { lastedMs: 100, wasEnded: true }
    expect([1, 2, 3, 4].map(() => pauseAfter(ended))).toEqual([500, 500, 500, 500])
    expect(pauseAfter({ lastedMs: 10_000, wasEnded: true })).toBe(300)
  })
})
