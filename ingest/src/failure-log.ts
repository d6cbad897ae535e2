import { type FailureCode, failures, levelOf } from '@avatar/contracts'
import {
  type AppError,
  background,
  countFailure,
  type Foundation,
  type Keys,
  type Log,
  logFailure,
  type Runnable,
} from '@avatar/service-kit'
import { LRUCache } from 'lru-cache'

/** How many customers with failures are told apart; a flood from more writes a line for each. */
const customersAtMost = 1_000
/** How exactly the time of a line is kept, in parts of the time between two. */
const looksPerLine = 12

/** Writes the failures of requests: of one customer and code one line, then one with a count in a while. */
export type FailureLog = Runnable & {
  /** `customer` tells apart who asks, by key or address, and is not written. */
  write(log: Log, error: AppError, sentence: string, customer: string, keys?: Keys): void
  /** Writes the counts that are due; all of them with `isLast`. */
  runOnce(isLast?: boolean): void
}

type Repeated = { code: FailureCode; keys: Keys; lineAtMs: number; count: number }

/**
 * A client that repeats its mistake, or knocks with thousands of bad keys, would drown all other lines.
 * Each failure is counted (`infinitetalk_failures_total`), whether it has a line or not. What is
 * unexpected always has one.
 */
export function createFailureLog(deps: Pick<Foundation, 'clock' | 'log' | 'timings'>): FailureLog {
  const { clock, log, timings } = deps
  const repeated = new LRUCache<string, Repeated>({
    max: customersAtMost,
    dispose: (entry, _, why) => {
      if (why === 'evict') writeCount(entry)
    },
  })

  function writeCount({ code, keys, count }: Repeated) {
    const { blame } = failures[code]
    if (count > 0) log[levelOf(code)]({ ...keys, code, blame, count }, 'more requests failed alike')
  }

  function runOnce(isLast = false) {
    const nowMs = clock.monotonicMs()
    for (const [id, entry] of repeated.entries()) {
      if (!isLast && nowMs - entry.lineAtMs < timings.repeatedFailureMs) continue
      writeCount(entry)
      if (entry.count === 0 || isLast) repeated.delete(id)
      else Object.assign(entry, { count: 0, lineAtMs: nowMs })
    }
  }

  const loop = background({
    name: 'repeated failures',
    everyMs: timings.repeatedFailureMs / looksPerLine,
    ...{ clock, log },
    pass: async () => runOnce(),
  })
  return {
    ...loop,
    async stop() {
      await loop.stop()
      runOnce(true)
    },
    runOnce,
    write(requestLog, error, sentence, customer, keys = {}) {
      const { code } = error
      const id = `${code} ${customer}`
      const known = repeated.get(id)
      if (known) {
        known.count++
        return countFailure(log, code)
      }
      logFailure(requestLog, error, sentence, keys)
      if (code !== 'UNEXPECTED')
        repeated.set(id, { code, keys, lineAtMs: clock.monotonicMs(), count: 0 })
    },
  }
}
