import { afterEach, describe, expect, it, vi } from 'vitest'
import { type Clock, systemClock } from './clock.ts'
import { everySoOften, stopInPhases, stopSignal } from './lifecycle.ts'
import { createLog } from './log.ts'

const log = createLog('test', 'silent')

/** A clock whose waits end when the test says so, or when they are aborted. */
function handClock() {
  const waits: { ms: number; end: () => void }[] = []
  const clock: Clock = {
    ...systemClock,
    wait: (ms, signal) =>
      new Promise((resolve) => {
        waits.push({ ms, end: resolve })
        if (signal?.aborted) resolve()
        signal?.addEventListener('abort', () => resolve(), { once: true })
      }),
  }
  return { clock, waits }
}

describe('a loop around a pass', () => {
  it('works at once, waits between passes, and goes on after one that throws', async () => {
    const { clock, waits } = handClock()
    let passes = 0
    const pass = async () => {
      passes++
      if (passes === 1) throw new Error('once')
    }
    const loop = everySoOften({ name: 'test', everyMs: 50, clock, log, pass })
    await loop.start()
    await vi.waitUntil(() => waits.length === 1)
    waits[0]?.end()
    await vi.waitUntil(() => waits.length === 2)
    expect(passes).toBe(2)
    expect(waits.map(({ ms }) => ms)).toEqual([50, 50])
    await loop.stop()
    expect(passes).toBe(2)
  })

  it('runs once when started twice; stopped means stopped, twice and before the start too', async () => {
    const { clock } = handClock()
    let running = 0
    let most = 0
    const ends: (() => void)[] = []
    const pass = async (signal: AbortSignal) => {
      most = Math.max(most, ++running)
      await new Promise<void>((resolve) => {
        ends.push(resolve)
        signal.addEventListener('abort', () => resolve())
      })
      running--
    }
    const loop = everySoOften({ name: 'test', everyMs: 1, clock, log, pass })
    await loop.stop()
    await loop.start()
    await loop.start()
    await vi.waitUntil(() => ends.length === 1)
    await loop.stop()
    expect([running, most]).toEqual([0, 1])
    await loop.stop()
    await loop.start()
    await vi.waitUntil(() => ends.length === 2)
    await loop.stop()
    expect(running).toBe(0)
  })
})

describe('a shutdown', () => {
  it('goes phase by phase, past one that fails and one that hangs', async () => {
    const { clock, waits } = handClock()
    const order: string[] = []
    const phase = (name: string, stop: () => Promise<unknown>) => ({ name, deadlineMs: 7, stop })
    const stopping = stopInPhases(
      [
        phase('first', async () => order.push('first')),
        phase('failing', () => Promise.reject(new Error('no'))),
        phase('hanging', () => new Promise(() => order.push('hanging'))),
        phase('last', async () => order.push('last')),
      ],
      clock,
      log,
    )
    await vi.waitUntil(() => waits.length === 3)
    expect(order).toEqual(['first', 'hanging'])
    waits[2]?.end()
    await stopping
    expect(order).toEqual(['first', 'hanging', 'last'])
  })
})

describe('the signal to stop', () => {
  const before = { SIGTERM: process.listeners('SIGTERM'), SIGINT: process.listeners('SIGINT') }
  afterEach(() => {
    vi.restoreAllMocks()
    for (const name of ['SIGTERM', 'SIGINT'] as const)
      for (const listener of process.listeners(name))
        if (!before[name].includes(listener)) process.removeListener(name, listener)
  })

  it.each(['SIGTERM', 'SIGINT'] as const)(
    'is the first %s; a second ends at once',
    async (name) => {
      const exit = vi.spyOn(process, 'exit').mockImplementation(() => undefined as never)
      const stopped = stopSignal()
      process.emit(name, name)
      expect(await stopped).toBe(name)
      expect(exit).not.toHaveBeenCalled()
      process.emit('SIGINT', 'SIGINT')
      expect(exit).toHaveBeenCalledWith(1)
    },
  )
})
