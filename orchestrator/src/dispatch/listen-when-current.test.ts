import { scaledTimings } from '@avatar/contracts'
import { createLog, systemClock } from '@avatar/service-kit'
import { itKeepsTheRunnableContract, until } from '@avatar/service-kit/testing'
import { describe, expect, it } from 'vitest'
import { listenWhenCurrent } from './listen-when-current.ts'

/** A listener that waits for a view, and the clock and the view that the test sets. */
function waiting() {
  const seen = { isCurrent: false, isListening: false, nowMs: 0 }
  const lines: Record<string, unknown>[] = []
  const destination = { write: (line: string) => void lines.push(JSON.parse(line)) }
  const runnable = listenWhenCurrent({
    clock: { ...systemClock, monotonicMs: () => seen.nowMs },
    log: createLog('test', 'info', { destination }),
    timings: { ...scaledTimings(1), listenAfterMs: 1_500 },
    isCurrent: () => seen.isCurrent,
    listener: {
      start: async () => {
        seen.isListening = true
      },
      stop: async () => {
        seen.isListening = false
      },
    },
  })
  return { runnable, seen, lines }
}

describe('listening for asks', () => {
  itKeepsTheRunnableContract(() => {
    const { runnable, seen } = waiting()
    seen.isCurrent = true
    return { runnable, atWork: () => (seen.isListening ? 1 : 0) }
  })

  it('begins once the view is current, and ends with nothing but a stop', async () => {
    const { runnable, seen, lines } = waiting()
    await runnable.start()
    expect([seen.isListening, runnable.isReady?.()]).toEqual([false, false])
    seen.isCurrent = true
    await until(() => seen.isListening)
    seen.isCurrent = false
    expect(runnable.isReady?.()).toBe(true)
    await runnable.stop()
    expect(seen.isListening).toBe(false)
    expect(lines).toEqual([])
  })

  it('begins some time after the start at the latest, and says so', async () => {
    const { runnable, seen, lines } = waiting()
    await runnable.start()
    seen.nowMs = 1_499
    await systemClock.wait(50)
    expect(seen.isListening).toBe(false)
    seen.nowMs = 1_500
    await until(() => seen.isListening)
    expect(lines).toMatchObject([
      { level: 'warn', msg: 'answering asks before all records are read' },
    ])
    await runnable.stop()
  })
})
