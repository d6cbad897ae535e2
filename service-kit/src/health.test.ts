import { describe, expect, it } from 'vitest'
import type { Runnable } from './background.ts'
import type { Clock } from './clock.ts'
import { type Check, createHealth, readinessTimings } from './health.ts'

const part = (difference: Partial<Runnable>): Runnable => ({
  start: async () => undefined,
  stop: async () => undefined,
  ...difference,
})

function healthOf({
  checks = {} as Record<string, Check>,
  parts = [] as Runnable[],
  isStopping = (): boolean => false,
} = {}) {
  const time = { nowMs: 0 }
  const waited: number[] = []
  const clock: Clock = {
    nowMs: () => time.nowMs,
    monotonicMs: () => time.nowMs,
    // The macrotask lets whatever answers at once answer first.
    wait: (ms) => {
      waited.push(ms)
      return new Promise((done) => setImmediate(done))
    },
  }
  const agreement = { aheadMs: () => 0, agrees: () => true, isTrusted: () => true }
  const health = createHealth({ checks, parts: () => parts, isStopping, clock, agreement })
  return { time, health, waited }
}

describe('readiness', () => {
  it('needs every check, and says since when each has its state', async () => {
    let isThere = true
    const { time, health } = healthOf({ checks: { store: async () => isThere } })
    expect((await health.ready()).status).toBe('ready')
    isThere = false
    time.nowMs = 5_000
    expect(await health.ready()).toEqual({
      status: 'unready',
      checks: {
        store: { ok: false, since: '1970-01-01T00:00:05.000Z' },
        work: { ok: true, since: '1970-01-01T00:00:00.000Z' },
      },
      clock: { ok: true, ahead_seconds: 0 },
    })
    time.nowMs = 7_000
    expect((await health.ready()).checks['store']?.since).toBe('1970-01-01T00:00:05.000Z')
  })

  it('says what is wrong with a dependency that is known to be', async () => {
    const { health } = healthOf({ checks: { nats: async () => 'The disk is full.' } })
    expect((await health.ready()).checks['nats']).toMatchObject({
      ok: false,
      problem: 'The disk is full.',
    })
  })

  it('asks a dependency once for all probes within half a second', async () => {
    let asked = 0
    const { time, health } = healthOf({ checks: { store: async () => ++asked > 0 } })
    await Promise.all([health.ready(), health.ready()])
    time.nowMs = 499
    await health.ready()
    expect(asked).toBe(1)
    time.nowMs = 500
    await health.ready()
    expect(asked).toBe(2)
  })

  it('is lost 1.5 s after a dependency froze, and 2.5 s for whoever waits for several services', async () => {
    const { answerWithinMs, sharedForMs } = readinessTimings
    expect(sharedForMs + 2 * answerWithinMs).toBeLessThanOrEqual(2_500)

    let isFrozen = false
    const given: number[] = []
    const store: Check = (withinMs) => {
      given.push(withinMs)
      return isFrozen ? new Promise(() => undefined) : Promise.resolve(true)
    }
    const { time, health, waited } = healthOf({ checks: { store } })
    expect((await health.ready()).status).toBe('ready')
    isFrozen = true
    time.nowMs = sharedForMs - 1
    expect((await health.ready()).status, 'the last answer is still shared').toBe('ready')
    time.nowMs = sharedForMs
    expect((await health.ready()).status, 'nobody answers in time').toBe('unready')
    expect(given).toEqual([answerWithinMs, answerWithinMs])
    expect(new Set(waited), 'the whole wait').toEqual(new Set([answerWithinMs]))
  })

  it('does not wait for a dependency that never answers, nor trust one that throws', async () => {
    const { health } = healthOf({
      checks: {
        silent: () => new Promise(() => undefined),
        broken: () => Promise.reject(new Error('no')),
      },
    })
    const { checks } = await health.ready()
    expect([checks['silent']?.ok, checks['broken']?.ok]).toEqual([false, false])
  })

  it('is lost while a part does not work, and when the process stops', async () => {
    let isReady = false
    let isStopping = false
    const { time, health } = healthOf({
      parts: [part({ isReady: () => isReady })],
      isStopping: () => isStopping,
    })
    expect((await health.ready()).status).toBe('unready')
    isReady = true
    time.nowMs = 1_000
    expect((await health.ready()).status).toBe('ready')
    isStopping = true
    time.nowMs = 2_000
    expect((await health.ready()).status).toBe('unready')
  })
})

describe('liveness', () => {
  it('depends on the loops alone', async () => {
    const stuck: string[] = []
    const { health } = healthOf({
      checks: { store: async () => false },
      parts: [part({ stuckLoops: () => stuck }), part({})],
    })
    expect(health.live()).toEqual({ status: 'alive', stuck: [] })
    stuck.push('reconciler')
    expect(health.live()).toEqual({ status: 'stuck', stuck: ['reconciler'] })
  })
})
