import { EventEmitter } from 'node:events'
import { expect, it } from 'vitest'
import { listenForStop } from './stop-signals.ts'

it('counts copies of one Ctrl-C once, and takes a later one as insisting', () => {
  let nowMs = 0
  const signals = new EventEmitter()
  const stop = listenForStop(signals, {
    nowMs: () => nowMs,
    monotonicMs: () => nowMs,
    wait: () => Promise.resolve(),
  })
  expect(stop.requested.aborted).toBe(false)
  signals.emit('SIGINT')
  nowMs = 900
  signals.emit('SIGINT')
  expect([stop.requested.aborted, stop.insisted.aborted]).toEqual([true, false])
  nowMs = 1_100
  signals.emit('SIGTERM')
  expect(stop.insisted.aborted).toBe(true)
  stop.forget()
  expect(signals.eventNames()).toEqual([])
})
