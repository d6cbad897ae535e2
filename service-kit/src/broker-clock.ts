import { background, type Runnable } from './background.ts'
import type { Bus } from './bus.ts'
import type { Clock } from './clock.ts'
import type { Log } from './log.ts'

/** A machine's clock is wrong when it differs from the broker's by more than this. */
export const clockMayDifferMs = 60_000

const readEveryMs = 10_000
const readAgainMs = 250
/** After the broker's clock has jumped, whoever set it has this long to notice a mistake. */
const doubtedForMs = 3_600_000

/** How this machine's wall clock compares with the broker's. */
export type ClockAgreement = {
  /** How far this machine's wall clock is ahead of the broker's; negative when it is behind. */
  aheadMs(): number
  /** Whether the two agree within a minute. */
  agrees(): boolean
  /** Whether what cannot be undone may rest on the time: they agree, and the broker's has not just jumped. */
  isTrusted(): boolean
}

/**
 * The time that all services share: the broker's, carried on by this machine's monotonic clock. A wall
 * clock that is wrong, or is set while the service runs, changes nothing. It may be read once `start`
 * has returned.
 */
export type BrokerClock = Clock & ClockAgreement

/**
 * Reads the broker's clock every ten seconds. `start` waits until it is known.
 *
 * The broker stamps its answer between the request and the reply, which bounds the offset from both
 * sides. Within these bounds the offset stays as it is, so slow answers do not make the time jitter.
 */
export function createBrokerClock(options: {
  bus: Pick<Bus, 'timeMs'>
  /** This machine's own clock. */
  clock: Clock
  log: Log
}): BrokerClock & Runnable & { readOnce(): Promise<void> } {
  const { bus, clock, log } = options
  /** The broker's clock minus the monotonic one. */
  let offsetMs: number | undefined
  let jumpedAtMs = -Infinity
  let didAgree = true

  async function readOnce() {
    const sentMs = clock.monotonicMs()
    const brokerMs = await bus.timeMs()
    const gotMs = clock.monotonicMs()
    const [leastMs, mostMs] = [brokerMs - gotMs, brokerMs - sentMs]
    const beforeMs = offsetMs
    offsetMs = Math.min(mostMs, Math.max(leastMs, beforeMs ?? (leastMs + mostMs) / 2))
    if (beforeMs !== undefined && Math.abs(offsetMs - beforeMs) > clockMayDifferMs) {
      jumpedAtMs = gotMs
      log.warn({ jumpedByMs: Math.round(offsetMs - beforeMs) }, "the broker's clock has jumped")
    }
    const doAgree = agrees()
    const told = { aheadMs: aheadMs() }
    if (didAgree && !doAgree) log.warn(told, "this machine's clock differs from the broker's")
    if (!didAgree && doAgree) log.info(told, "this machine's clock agrees with the broker's again")
    didAgree = doAgree
  }

  function nowMs() {
    if (offsetMs === undefined) throw new Error('the broker clock is read before it has started')
    return Math.round(clock.monotonicMs() + offsetMs)
  }
  const aheadMs = () => clock.nowMs() - nowMs()
  const agrees = () => Math.abs(aheadMs()) <= clockMayDifferMs

  const loop = background({
    name: 'broker clock',
    everyMs: readEveryMs,
    clock,
    log,
    // `/readyz` tells that the broker is away.
    pass: () => readOnce().catch((error) => log.debug({ err: error }, "broker's time not read")),
  })
  return {
    ...loop,
    async start() {
      for (let tries = 1; offsetMs === undefined; tries++) {
        await readOnce().catch((error) => {
          if (tries === 1) log.warn({ err: error }, "waiting for the broker's time")
          return clock.wait(readAgainMs)
        })
      }
      await loop.start()
    },
    nowMs,
    monotonicMs: clock.monotonicMs,
    wait: clock.wait,
    aheadMs,
    agrees,
    isTrusted: () => agrees() && clock.monotonicMs() - jumpedAtMs > doubtedForMs,
    readOnce,
  }
}
