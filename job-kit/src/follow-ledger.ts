import {
  createUsage,
  dayOf,
  findPosting,
  monthOf,
  nextMonthMs,
  type Posting,
  postingsOfMonth,
  streams,
  type Usage,
  workerPostingsBefore,
} from '@avatar/contracts'
import {
  type Bus,
  background,
  type Clock,
  type Log,
  type Runnable,
  readAll,
} from '@avatar/service-kit'

/** How soon a broken reading is taken up again. */
const readAgainMs = 500
/** Timers hold no more than some weeks, and the clock may be corrected meanwhile. */
const lookAtMonthEveryMs = 60_000

/** This month's account, as far as it is read: `isReady` tells whether that is all of it. */
export type LedgerReader = Runnable & { usage(): Usage }

/**
 * Folds this month's postings as they come. It resumes after the last one it saw, so that none counts
 * twice, and begins anew with each month. It does not notice what is purged while it runs.
 */
export function followLedger(options: { bus: Bus; clock: Clock; log: Log }): LedgerReader {
  const { bus, clock, log } = options
  let account = { month: '', usage: createUsage(), readTo: 0 }
  let shown = account.usage
  let isCurrent = false

  async function readMonth(signal: AbortSignal) {
    const month = monthOf(dayOf(clock.nowMs()))
    if (account.month !== month) {
      const usage = createUsage()
      const before = await readPostings(bus, workerPostingsBefore(month))
      for (const posting of before) usage.note(posting)
      account = { month, usage, readTo: 0 }
    }
    const reading = account
    const over = new AbortController()
    const either = AbortSignal.any([signal, over.signal])
    void untilMonthEnds(month, either).then(() => over.abort())
    try {
      await bus.followStream(streams.LEDGER.name, postingsOfMonth(month), {
        signal: either,
        fromSequence: reading.readTo + 1,
        onMessage({ subject, sequence, body }) {
          reading.readTo = sequence
          const posting = findPosting(subject, body)
          if (posting) reading.usage.note(posting)
          else log.error({ subject }, 'posting left out, it does not follow its schema')
        },
        onCurrent() {
          shown = reading.usage
          isCurrent = true
        },
      })
    } catch (error) {
      isCurrent = false
      throw error
    } finally {
      over.abort()
    }
  }

  async function untilMonthEnds(month: string, signal: AbortSignal) {
    while (!signal.aborted && monthOf(dayOf(clock.nowMs())) === month) {
      const leftMs = nextMonthMs(clock.nowMs()) - clock.nowMs()
      await clock.wait(Math.min(leftMs, lookAtMonthEveryMs), signal)
    }
  }

  const loop = background({
    ...options,
    name: 'ledger reader',
    everyMs: readAgainMs,
    // There may be no posting for days.
    silentForMs: Infinity,
    pass: readMonth,
  })
  return {
    ...loop,
    async stop() {
      await loop.stop()
      isCurrent = false
    },
    isReady: () => isCurrent,
    usage: () => shown,
  }
}

/** Everything that a month's costs follow from. @throws AppError BROKER_UNAVAILABLE */
export async function readLedger(bus: Bus, month: string): Promise<Posting[]> {
  return [
    ...(await readPostings(bus, workerPostingsBefore(month))),
    ...(await readPostings(bus, postingsOfMonth(month))),
  ]
}

async function readPostings(bus: Bus, subject: string): Promise<Posting[]> {
  const stored = await readAll((options) => bus.followStream(streams.LEDGER.name, subject, options))
  return stored.flatMap((message) => findPosting(message.subject, message.body) ?? [])
}
