import { statfs } from 'node:fs/promises'
import { background, type Clock, createLog, storageTroubleOf } from '@avatar/service-kit'
import { z } from 'zod'

const lookEveryMs = 2_000
const answerWithinMs = 2_000
/** Less room than this is used up before the broker has restarted. */
const leastFreeBytes = 4 * 2 ** 20
/** The distance from one restart to the next, doubled up to the longest while they do not help. */
const firstPauseMs = 5_000
const longestPauseMs = 300_000

const healthSchema = z.object({ error: z.string().optional() })

/**
 * Restarts the broker when it cannot write any more and its disk has room. A stream of NATS 2.15 whose
 * write failed takes no other one until a restart, which loses nothing that it acknowledged.
 */
export function watchBrokerDisk(options: {
  /** The address of the broker's monitoring. */
  monitor: string
  storeDir: string
  restart: () => void
  write: (line: string) => void
  clock: Clock
}) {
  const { monitor, storeDir, restart, write, clock } = options
  let pauseMs = firstPauseMs
  let restartedAtMs = -Infinity
  let isReported = false

  async function runOnce() {
    const error = await healthErrorOf(monitor)
    if (!storageTroubleOf(error)) {
      isReported = false
      return
    }
    const { bavail, bsize } = await statfs(storeDir)
    if (bavail * bsize < leastFreeBytes) {
      if (!isReported) write(`nats cannot write: make room on the disk of ${storeDir} (${error})`)
      isReported = true
      return
    }
    const sinceMs = clock.monotonicMs() - restartedAtMs
    if (sinceMs < pauseMs) return
    // The first restart after a long while counts as none before it.
    if (sinceMs > longestPauseMs) pauseMs = firstPauseMs
    else pauseMs = Math.min(longestPauseMs, pauseMs * 2)
    restartedAtMs = clock.monotonicMs()
    write(`nats cannot write although its disk has room: restarting it (${error})`)
    restart()
  }

  const loop = background({
    name: 'broker disk watch',
    everyMs: lookEveryMs,
    clock,
    log: createLog('avatar', 'silent'),
    pass: runOnce,
  })
  return { ...loop, runOnce }
}

/** Why the broker is not healthy; empty while it is, or does not answer. */
async function healthErrorOf(monitor: string): Promise<string> {
  try {
    const answer = await fetch(`${monitor}/healthz`, {
      signal: AbortSignal.timeout(answerWithinMs),
    })
    return healthSchema.parse(await answer.json()).error ?? ''
  } catch {
    return ''
  }
}
