import { describe, expect, it, vi } from 'vitest'
import { handClock, itKeepsTheRunnableContract } from '../testing/index.ts'
import { background, together } from './background.ts'
import { systemClock } from './clock.ts'
import { createLog } from './log.ts'

const log = createLog('test', 'silent')

/** A loop whose pass lasts until it is stopped. */
function hanging(options: { silentForMs?: number; clock?: typeof systemClock } = {}) {
  let running = 0
  const runnable = background({
    ...{ name: 'test', everyMs: 1, clock: systemClock, log, ...options },
    async pass(signal) {
      running++
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
      running--
    },
  })
  return { runnable, atWork: () => running }
}

describe('a background loop', () => {
  itKeepsTheRunnableContract(() => hanging())

  it('works at once, waits between passes, and goes on after one that throws', async () => {
    const { clock, waits } = handClock()
    let passes = 0
    const pass = async () => {
      passes++
      if (passes === 1) throw new Error('once')
    }
    const loop = background({ name: 'test', everyMs: 50, clock, log, pass })
    await loop.start()
    await vi.waitUntil(() => waits.length === 1)
    waits[0]?.end()
    await vi.waitUntil(() => waits.length === 2)
    expect(passes).toBe(2)
    expect(waits.map(({ ms }) => ms)).toEqual([50, 50])
    await loop.stop()
    expect(passes).toBe(2)
  })
})

it('a pass of each hour that failed is tried again after a minute', async () => {
  const { clock, waits } = handClock()
  let passes = 0
  const pass = async () => {
    if (++passes < 3) throw new Error('the store is away')
  }
  const loop = background({ name: 'test', everyMs: 3_600_000, clock, log, pass })
  await loop.start()
  for (const count of [1, 2, 3]) {
    await vi.waitUntil(() => waits.length === count)
    waits[count - 1]?.end()
  }
  await vi.waitUntil(() => waits.length === 4)
  expect(waits.map(({ ms }) => ms)).toEqual([60_000, 60_000, 3_600_000, 3_600_000])
  await loop.stop()
})

describe('a loop that a restart must repair', () => {
  it('is one whose pass is silent for too long, until it is stopped', async () => {
    let nowMs = 0
    const clock = { ...systemClock, monotonicMs: () => nowMs }
    const { runnable } = hanging({ silentForMs: 1_000, clock })
    expect(runnable.stuckLoops?.()).toEqual([])
    await runnable.start()
    nowMs = 1_000
    expect(runnable.stuckLoops?.()).toEqual([])
    nowMs = 1_001
    expect(runnable.stuckLoops?.()).toEqual(['test'])
    expect(together(runnable).stuckLoops?.()).toEqual(['test'])
    await runnable.stop()
    expect(runnable.stuckLoops?.()).toEqual([])
  })

  it('is not one whose long pass reports its turns', async () => {
    let nowMs = 0
    const turns: (() => void)[] = []
    const loop = background({
      ...{ name: 'test', everyMs: 1, silentForMs: 1_000, log },
      clock: { ...systemClock, monotonicMs: () => nowMs },
      pass: (signal, turned) =>
        new Promise<void>((resolve) => {
          turns.push(turned)
          signal.addEventListener('abort', () => resolve())
        }),
    })
    await loop.start()
    nowMs = 5_000
    turns[0]?.()
    expect(loop.stuckLoops?.()).toEqual([])
    await loop.stop()
  })

  it('is one that died', async () => {
    const clock = { ...systemClock, wait: () => Promise.reject(new Error('no clock')) }
    const loop = background({ name: 'test', everyMs: 1, clock, log, pass: async () => undefined })
    await loop.start()
    await vi.waitUntil(() => loop.stuckLoops?.()?.length === 1)
    await loop.stop()
  })
})

describe('several parts together', () => {
  it('are ready when all of them are', async () => {
    let isReady = false
    const part = { ...hanging().runnable, isReady: () => isReady }
    const both = together(hanging().runnable, part)
    expect(both.isReady?.()).toBe(false)
    isReady = true
    expect(both.isReady?.()).toBe(true)
  })
})
