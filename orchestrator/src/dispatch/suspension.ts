import { background, type Clock, type Log, type Runnable } from '@avatar/service-kit'

/**
 * Notices that this process was suspended: its monotonic clock jumped between two looks at it. What it
 * holds or finds in its socket then is old, until the broker has answered a ping: everything that was
 * sent before lies in front of that answer.
 */
export type SuspensionWatch = Runnable & {
  /** Takes a look. @returns whether what was received may be old */
  isStale(): boolean
}

/** Looks by a timer, and whenever it is asked: either may come first after a suspension. */
export function suspensionWatch(options: {
  clock: Clock
  log: Log
  suspendedAfterMs: number
  /** Whether the broker has answered a round trip. */
  ping: () => Promise<boolean>
  onSuspended: () => void
  onFresh: () => void
}): SuspensionWatch {
  const { clock, log, suspendedAfterMs, ping, onSuspended, onFresh } = options
  const lookEveryMs = suspendedAfterMs / 4
  let lookedAtMs = clock.monotonicMs()
  let isOld = false

  function isStale(): boolean {
    const nowMs = clock.monotonicMs()
    const awayMs = nowMs - lookedAtMs
    lookedAtMs = nowMs
    if (awayMs > suspendedAfterMs) {
      log.warn({ durationMs: Math.round(awayMs) }, 'suspended for a while, older asks are dropped')
      isOld = true
      onSuspended()
    }
    return isOld
  }

  const loop = background({
    ...options,
    name: 'suspension watch',
    everyMs: lookEveryMs,
    async pass() {
      if (!isStale()) return
      const sinceMs = lookedAtMs
      const isAnswered = await ping()
      // A suspension during the ping makes it worthless.
      if (!isAnswered || clock.monotonicMs() - sinceMs > suspendedAfterMs) return
      isOld = false
      lookedAtMs = clock.monotonicMs()
      onFresh()
    },
  })
  return {
    ...loop,
    async start() {
      lookedAtMs = clock.monotonicMs()
      await loop.start()
    },
    isStale,
  }
}
