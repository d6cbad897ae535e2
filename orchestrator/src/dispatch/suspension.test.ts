import { createLog, systemClock } from '@avatar/service-kit'
import { itKeepsTheRunnableContract, until } from '@avatar/service-kit/testing'
import { describe, expect, it } from 'vitest'
import { suspensionWatch } from './suspension.ts'

const suspendedAfterMs = 400

/** A watch whose monotonic clock the test sets, and whose pings it answers. */
function watched(onPing = () => undefined as undefined | boolean) {
  const now = { ms: 0 }
  const heard: string[] = []
  const watch = suspensionWatch({
    clock: { ...systemClock, monotonicMs: () => now.ms },
    log: createLog('test', 'silent'),
    suspendedAfterMs,
    ping: async () => onPing() ?? true,
    onSuspended: () => void heard.push('suspended'),
    onFresh: () => void heard.push('fresh'),
  })
  return { watch, now, heard }
}

describe('the watch over suspensions', () => {
  itKeepsTheRunnableContract(() => {
    let waits = 0
    const clock = {
      ...systemClock,
      wait: async (ms: number, signal?: AbortSignal) => {
        waits++
        await systemClock.wait(ms, signal)
        waits--
      },
    }
    const runnable = suspensionWatch({
      ...{ clock, log: createLog('test', 'silent'), suspendedAfterMs },
      ...{ ping: async () => true, onSuspended: () => undefined, onFresh: () => undefined },
    })
    return { runnable, atWork: () => waits }
  })

  it('finds nothing stale while the looks at the clock are close enough', () => {
    const { watch, now, heard } = watched()
    for (let look = 0; look < 5; look++) {
      now.ms += suspendedAfterMs
      expect(watch.isStale()).toBe(false)
    }
    expect(heard).toEqual([])
  })

  it('finds everything stale after a jump, until the broker has answered', async () => {
    let isAway = true
    const { watch, now, heard } = watched(() => !isAway)
    now.ms += suspendedAfterMs + 1
    expect(watch.isStale()).toBe(true)
    await watch.start()
    expect(watch.isStale()).toBe(true)
    isAway = false
    await until(() => heard.includes('fresh'))
    expect(watch.isStale()).toBe(false)
    await watch.stop()
    expect(heard).toEqual(['suspended', 'fresh'])
  })

  it('does not trust a ping during which it was suspended again', async () => {
    let pings = 0
    const { watch, now, heard } = watched(() => {
      if (++pings === 1) now.ms += suspendedAfterMs + 1
      return true
    })
    now.ms += suspendedAfterMs + 1
    expect(watch.isStale()).toBe(true)
    await watch.start()
    await until(() => heard.includes('fresh'))
    expect(pings).toBeGreaterThan(1)
    await watch.stop()
  })
})
