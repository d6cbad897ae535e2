import { dayOf, subjects, type Timings } from '@avatar/contracts'
import { type Bus, type Clock, type Log, logFailure } from '@avatar/service-kit'
import type { WorkerProvider } from './providers/provider.ts'

const dayMs = 86_400_000
const microsPerUnit = 1_000_000

/** Posts what the provider charged, so that it can be held against the workers' own clocks. */
export type Biller = {
  /** Posts the bill of the last day whose accounts are closed, if nobody has. A failure is logged. */
  postIfDue(): Promise<void>
}

/**
 * A provider goes on booking a day for some hours after its end; then the day is posted, once, by whoever
 * decides about workers. Bills are in US dollars: where prices are in another currency none is posted.
 */
export function createBiller(deps: {
  provider: Pick<WorkerProvider, 'name' | 'billOf'>
  pool: string
  currency: string
  bus: Pick<Bus, 'lastMessage' | 'publish'>
  clock: Clock
  log: Log
  timings: Pick<Timings, 'billClosedAfterMs' | 'billAgainMs'>
}): Biller {
  const { provider, pool, currency, bus, clock, log, timings } = deps
  let postedDay = ''
  let triedAtMs = -Infinity

  async function post(day: string) {
    const subject = subjects.billPosting(day, pool)
    if ((await bus.lastMessage('LEDGER', subject)) === undefined) {
      const dollars = await provider.billOf(day)
      if (dollars === undefined) return
      const micros = Math.round(dollars * microsPerUnit)
      await bus.publish(subject, { pool, day, micros, currency })
      log.info({ pool, day }, 'bill of the provider posted')
    }
    postedDay = day
  }

  return {
    async postIfDue() {
      const day = dayOf(clock.nowMs() - dayMs - timings.billClosedAfterMs)
      const isTried = clock.monotonicMs() - triedAtMs < timings.billAgainMs
      if (currency !== 'USD' || day === postedDay || isTried) return
      triedAtMs = clock.monotonicMs()
      await post(day).catch((error) =>
        logFailure(log, error, 'no bill from the provider', { provider: provider.name }),
      )
    },
  }
}
