import { describe, expect, it } from 'vitest'
import { createBrokerClock } from './broker-clock.ts'
import { type Clock, systemClock } from './clock.ts'
import { AppError } from './errors.ts'
import { createLog } from './log.ts'

const hourMs = 3_600_000
const startMs = 1_700_000_000_000

/** A machine and a broker whose clocks a test sets. Each answer of the broker takes `tripMs` there and back. */
function world({ aheadMs = 0, tripMs = 20 } = {}) {
  const time = { elapsedMs: 0, aheadMs, brokerAheadMs: 0, tripMs }
  const machine: Clock = {
    ...systemClock,
    nowMs: () => startMs + time.elapsedMs + time.aheadMs,
    monotonicMs: () => 5_000 + time.elapsedMs,
  }
  const lines: string[] = []
  const clock = createBrokerClock({
    clock: machine,
    log: createLog('test', 'debug', { destination: { write: (line) => void lines.push(line) } }),
    bus: {
      async timeMs() {
        time.elapsedMs += time.tripMs / 2
        const answeredMs = startMs + time.elapsedMs + time.brokerAheadMs
        time.elapsedMs += time.tripMs / 2
        return answeredMs
      },
    },
  })
  const logged = () => lines.map((line) => JSON.parse(line).msg)
  return { time, clock, logged, trueMs: () => startMs + time.elapsedMs }
}

describe("the broker's clock", () => {
  it.each([0, 7 * hourMs, -7 * hourMs, 20 * 60_000])(
    'is what counts, whatever the machine says (%i ms ahead)',
    async (aheadMs) => {
      const { clock, trueMs } = world({ aheadMs })
      await clock.readOnce()
      expect(clock.nowMs()).toBe(trueMs())
      expect(clock.aheadMs()).toBe(aheadMs)
    },
  )

  it('goes on evenly when the machine is set to another time, and tells the difference at once', async () => {
    const { clock, time, trueMs } = world()
    await clock.readOnce()
    time.aheadMs = 7 * hourMs
    time.elapsedMs += 1_000
    expect([clock.nowMs(), clock.aheadMs()]).toEqual([trueMs(), 7 * hourMs])
    time.aheadMs = 0
    expect(clock.aheadMs()).toBe(0)
  })

  it('does not jitter with slow answers, and is never further off than half of one', async () => {
    const { clock, time, trueMs } = world({ tripMs: 2 })
    await clock.readOnce()
    for (const tripMs of [1_500, 40, 900, 2]) {
      time.tripMs = tripMs
      await clock.readOnce()
      expect(clock.nowMs()).toBe(trueMs())
    }
  })

  it('may not be read before it is known', () => {
    expect(() => world().clock.nowMs()).toThrow('before it has started')
  })

  it('is waited for at the start', async () => {
    let tries = 0
    const clock = createBrokerClock({
      clock: { ...systemClock, wait: async () => undefined },
      log: createLog('test', 'silent'),
      bus: {
        async timeMs() {
          if (++tries < 3) throw new AppError('BROKER_UNAVAILABLE')
          return startMs
        },
      },
    })
    await clock.start()
    await clock.stop()
    expect(clock.nowMs()).toBeGreaterThanOrEqual(startMs)
  })
})

describe('agreement', () => {
  it.each([
    [59_000, true],
    [-59_000, true],
    [61_000, false],
    [-61_000, false],
    [7 * hourMs, false],
  ])('of a machine %i ms ahead: %s', async (aheadMs, agrees) => {
    const { clock } = world({ aheadMs })
    await clock.readOnce()
    expect([clock.agrees(), clock.isTrusted()]).toEqual([agrees, agrees])
  })

  it('is logged when it ends and when it is back, and not at each reading', async () => {
    const { clock, time, logged } = world()
    for (const aheadMs of [0, 120_000, 120_000, 0, 0]) {
      time.aheadMs = aheadMs
      await clock.readOnce()
    }
    expect(logged()).toEqual([
      "this machine's clock differs from the broker's",
      "this machine's clock agrees with the broker's again",
    ])
  })

  it('is not enough for an hour after both clocks have jumped together', async () => {
    const { clock, time, trueMs, logged } = world({ tripMs: 0 })
    await clock.readOnce()
    time.aheadMs = time.brokerAheadMs = 7 * hourMs
    await clock.readOnce()
    expect(clock.nowMs()).toBe(trueMs() + 7 * hourMs)
    expect([clock.agrees(), clock.isTrusted()]).toEqual([true, false])
    expect(logged()).toEqual(["the broker's clock has jumped"])
    time.elapsedMs += hourMs + 1_000
    expect(clock.isTrusted()).toBe(true)
  })
})
