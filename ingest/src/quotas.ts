import {
  dearestPriceMicros,
  failures,
  limitsInForce,
  ownerRefusal,
  priceMicrosOf,
  type QuotaAccount,
  type QuotaRefusal,
  serviceRefusal,
} from '@avatar/contracts'
import { defaultLimitsOf, type LedgerReader, type LimitsWatch } from '@avatar/job-kit'
import { AppError, type Clock } from '@avatar/service-kit'
import type { Board } from './board.ts'
import type { IngestConfig } from './config.ts'
import type { Workers } from './workers.ts'

/** What this replica is admitting counts until the board knows the job. */
export type Reservation = { release(): void }

/** Whether an owner, and the service, may have another job. */
export type Quotas = ReturnType<typeof createQuotas>

/** A starting replica is asked again this soon. */
const startingMs = 2_000

/**
 * Decides by the records of unfinished jobs and this month's postings, which this process follows. One
 * replica is exact; several may pass a limit by one job each that they admit in the same milliseconds.
 */
export function createQuotas(deps: {
  board: Board
  ledger: LedgerReader
  limits: LimitsWatch
  workers: Workers
  clock: Clock
  config: IngestConfig
}) {
  const { board, ledger, limits, workers, clock, config } = deps
  const defaults = defaultLimitsOf(config)
  const dearestMicros = dearestPriceMicros(config.POOL_PRICES)
  const service = {
    maxJobs: config.QUEUE_MAX_JOBS,
    budgetPerDayMicros: config.SERVICE_BUDGET_PER_DAY,
  }
  let hasRead = false
  const admitting = new Set<{ owner: string; estimatedSeconds: number }>()

  function accountOf(owner: string): QuotaAccount {
    const nowMs = clock.nowMs()
    const own = [...admitting].filter((job) => job.owner === owner)
    const added = <T extends { jobs: number; estimatedSeconds: number }>(
      total: T,
      jobs: readonly { estimatedSeconds: number }[],
    ): T => ({
      ...total,
      jobs: total.jobs + jobs.length,
      estimatedSeconds: jobs.reduce(
        (sum, job) => sum + job.estimatedSeconds,
        total.estimatedSeconds,
      ),
    })
    return {
      nowMs,
      usage: ledger.usage(),
      open: added(board.openOf(owner), own),
      openOfAll: added(board.openOfAll(), [...admitting]),
      dearestMicros,
      nextEndSeconds: board.nextEndSeconds(nowMs, owner),
      nextEndOfAllSeconds: board.nextEndSeconds(nowMs),
    }
  }

  const hasFreeWorker = () =>
    workers
      .alive()
      .some(
        ({ beat }) =>
          beat.state !== 'draining' && priceMicrosOf(config.POOL_PRICES, beat.pool ?? '') === 0,
      )

  function refusalOf(owner: string, estimatedSeconds: number): AppError | undefined {
    // Later on, what was known last holds while a watch is broken.
    hasRead ||= [board, ledger, limits].every((part) => part.isReady?.())
    if (!hasRead)
      return new AppError('BROKER_UNAVAILABLE', {
        message: 'This instance is reading what is in use; try again.',
        retryAfterMs: startingMs,
      })
    const account = accountOf(owner)
    const inForce = limitsInForce(limits.limitsOf(owner), defaults)
    const refusal =
      serviceRefusal(service, account, hasFreeWorker()) ??
      ownerRefusal(owner, inForce, account, estimatedSeconds)
    return refusal && errorOf(refusal)
  }

  return {
    /** Why no further job of this owner is taken, as far as can be told before its length is known. */
    refusalOf: (owner: string): AppError | undefined => refusalOf(owner, 0),
    /**
     * Counts a job that is about to be created.
     *
     * @throws AppError TOO_MANY_JOBS, GPU_SECONDS_EXHAUSTED, BUDGET_EXHAUSTED, QUEUE_FULL,
     * SERVICE_BUDGET_EXHAUSTED; BROKER_UNAVAILABLE while this process is reading
     */
    reserve(owner: string, estimatedSeconds: number): Reservation {
      const refusal = refusalOf(owner, estimatedSeconds)
      if (refusal) throw refusal
      const job = { owner, estimatedSeconds }
      admitting.add(job)
      return { release: () => void admitting.delete(job) }
    },
  }
}

function errorOf({ code, details, retryAfterMs }: QuotaRefusal): AppError {
  return new AppError(code, { details, retryAfterMs, message: messageOf(code, details) })
}

/** The table's sentence, with what the numbers are. */
function messageOf(code: QuotaRefusal['code'], details: QuotaRefusal['details']): string {
  const { limit, resets_at: resetsAt } = details
  const facts = [
    limit === undefined ? '' : `the limit is ${limit}`,
    resetsAt === undefined ? '' : `it is renewed at ${resetsAt}`,
  ].filter(Boolean)
  const { summary } = failures[code]
  return facts.length === 0 ? summary : `${summary} (${facts.join('; ')})`
}
