import { EventEmitter } from 'node:events'
import { expect, it } from 'vitest'
import { hearStopWish } from './stop-wish.ts'

it('counts copies of one Ctrl-C once, and takes a later one as insisting', () => {
  let nowMs = 0
  const signals = new EventEmitter()
  const wish = hearStopWish(signals, {
    nowMs: () => nowMs,
    monotonicMs: () => nowMs,
    wait: () => Promise.resolve(),
  })
  expect(wish.made.aborted).toBe(false)
  signals.emit('SIGINT')
  nowMs = 900
  signals.emit('SIGINT')
  expect([wish.made.aborted, wish.insisted.aborted]).toEqual([true, false])
  nowMs = 1_100
  signals.emit('SIGTERM')
  expect(wish.insisted.aborted).toBe(true)
  wish.forget()
  expect(signals.eventNames()).toEqual([])
})
