import { afterEach, describe, expect, it, vi } from 'vitest'
import { handClock } from '../testing/index.ts'
import { createLog } from './log.ts'
import { stopInPhases, stopSignal } from './shutdown.ts'

const log = createLog('test', 'silent')

describe('a shutdown', () => {
  it('goes phase by phase, past a failing and a hanging one', async () => {
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
    expect(await stopping).toBe(false)
    expect(order).toEqual(['first', 'hanging', 'last'])
  })

  it('reports that every phase stopped in time', async () => {
    const { clock } = handClock()
    const phase = { name: 'only', deadlineMs: 7, stop: async () => undefined }
    expect(await stopInPhases([phase], clock, log)).toBe(true)
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
