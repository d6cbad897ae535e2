import type { FailureCode } from './failures.ts'
import type { Held } from './fair-order.ts'
import type { GpuSum } from './ledger.ts'
import type { OpenTotal } from './open-jobs.ts'
import type { OwnerLimits } from './owner-limits.ts'
import { dayOf, monthOf, nextDayMs, nextMonthMs } from './postings.ts'
import { costMicros, formatMicros } from './prices.ts'
import { committedOf, type Usage } from './usage.ts'

/** Why a submission is refused, and when it can pass. */
export type QuotaRefusal = {
  code: FailureCode
  details: Readonly<Record<string, unknown>>
  retryAfterMs?: number
}

/** What an owner has, and what the whole service has, at this moment. */
export type QuotaAccount = {
  nowMs: number
  /** Charges of this month. */
  usage: Pick<Usage, 'chargedTo' | 'spentOn'>
  /** The owner's unfinished jobs, those included that are being admitted. */
  open: OpenTotal
  openOfAll: OpenTotal
  /** Of a GPU second in the dearest pool: nobody knows yet which one will render. */
  dearestMicros: number
  /** Until the owner's next job is expected to end, and anybody's. */
  nextEndSeconds: number
  nextEndOfAllSeconds: number
}

/** The limits of the service as a whole. */
export type ServiceLimits = { maxJobs: number; budgetPerDayMicros?: number | undefined }

const seconds = (from: number, to: number, value: number) =>
  Math.min(to, Math.max(from, Math.ceil(value))) * 1000

/**
 * Why the whole service takes no further job.
 *
 * @param hasFreeWorker a worker whose pool costs nothing goes on when the budget is spent
 */
export function serviceRefusal(
  limits: ServiceLimits,
  account: QuotaAccount,
  hasFreeWorker: boolean,
): QuotaRefusal | undefined {
  const { openOfAll, nowMs } = account
  if (openOfAll.jobs >= limits.maxJobs)
    return {
      code: 'QUEUE_FULL',
      details: { limit: limits.maxJobs, used: openOfAll.jobs },
      retryAfterMs: seconds(2, 600, account.nextEndOfAllSeconds),
    }
  if (isServiceBudgetSpent(limits, account.usage, nowMs) && !hasFreeWorker)
    return {
      code: 'SERVICE_BUDGET_EXHAUSTED',
      details: { resets_at: instant(nextDayMs(nowMs)) },
      retryAfterMs: nextDayMs(nowMs) - nowMs,
    }
  return undefined
}

/** Whether the service has spent its budget of the day: then priced pools start nothing. */
export function isServiceBudgetSpent(
  { budgetPerDayMicros }: Pick<ServiceLimits, 'budgetPerDayMicros'>,
  usage: Pick<Usage, 'spentOn'>,
  nowMs: number,
): boolean {
  return (
    budgetPerDayMicros !== undefined && usage.spentOn(dayOf(nowMs)).micros >= budgetPerDayMicros
  )
}

/**
 * Why an owner may submit no further job: spent + committed + this job's estimate passes a limit.
 *
 * @param estimatedSeconds of this job; 0 while its length is not known yet
 */
export function ownerRefusal(
  owner: string,
  limits: OwnerLimits,
  account: QuotaAccount,
  estimatedSeconds: number,
): QuotaRefusal | undefined {
  const { open, nowMs } = account
  if (limits.unfinishedJobs !== undefined && open.jobs >= limits.unfinishedJobs)
    return {
      code: 'TOO_MANY_JOBS',
      details: { limit: limits.unfinishedJobs, used: open.jobs },
      retryAfterMs: seconds(1, 3_600, account.nextEndSeconds),
    }
  const ofDay = account.usage.chargedTo(owner, dayOf(nowMs))
  const ofMonth = account.usage.chargedTo(owner, monthOf(dayOf(nowMs)))
  return (
    secondsRefusal(limits.gpuSecondsPerDay, ofDay, account, estimatedSeconds) ??
    budgetRefusal('day', limits.budgetPerDayMicros, ofDay, account, estimatedSeconds) ??
    budgetRefusal('month', limits.budgetPerMonthMicros, ofMonth, account, estimatedSeconds)
  )
}

function secondsRefusal(
  limit: number | undefined,
  spent: GpuSum,
  { open, nowMs }: QuotaAccount,
  estimatedSeconds: number,
): QuotaRefusal | undefined {
  const committed = open.estimatedSeconds
  const after = spent.gpuSeconds + committed + estimatedSeconds
  if (limit === undefined || !isPassed(limit, after, spent.gpuSeconds + committed)) return undefined
  return {
    code: 'GPU_SECONDS_EXHAUSTED',
    details: {
      ...{ limit, spent: tenths(spent.gpuSeconds), committed: tenths(committed) },
      ...(estimatedSeconds > 0 ? { estimated: tenths(estimatedSeconds) } : {}),
      resets_at: instant(nextDayMs(nowMs)),
    },
    retryAfterMs: nextDayMs(nowMs) - nowMs,
  }
}

function budgetRefusal(
  period: 'day' | 'month',
  limit: number | undefined,
  spent: GpuSum,
  { open, dearestMicros, nowMs }: QuotaAccount,
  estimatedSeconds: number,
): QuotaRefusal | undefined {
  if (limit === undefined) return undefined
  const committed = committedOf(open, dearestMicros).micros
  const estimated = costMicros(estimatedSeconds, dearestMicros)
  if (!isPassed(limit, spent.micros + committed + estimated, spent.micros + committed))
    return undefined
  return {
    code: 'BUDGET_EXHAUSTED',
    details: {
      period,
      limit: formatMicros(limit),
      spent: formatMicros(spent.micros),
      committed: formatMicros(committed),
      ...(estimated > 0 ? { estimated: formatMicros(estimated) } : {}),
      resets_at: instant(period === 'day' ? nextDayMs(nowMs) : nextMonthMs(nowMs)),
    },
  }
}

/** A limit that is used up to the last is passed as well: even a job of unknown length takes something. */
function isPassed(limit: number, after: number, before: number): boolean {
  return after > limit || (before > 0 && before >= limit)
}

/**
 * Why no job of an owner may start: its renders are capped, or what it was charged alone has reached a
 * limit. Renders that run go on.
 */
export function heldBackBy(
  owner: string,
  limits: OwnerLimits,
  usage: Pick<Usage, 'chargedTo'>,
  running: number,
  nowMs: number,
): Held | undefined {
  const { renders, gpuSecondsPerDay, budgetPerDayMicros, budgetPerMonthMicros } = limits
  if (renders !== undefined && running >= renders) return 'own_jobs'
  // Most owners have none of these, and this is asked at every pick.
  if ((gpuSecondsPerDay ?? budgetPerDayMicros ?? budgetPerMonthMicros) === undefined)
    return undefined
  const isSpent = (limit: number | undefined, spent: number) =>
    limit !== undefined && spent > 0 && spent >= limit
  const day = dayOf(nowMs)
  const ofDay = usage.chargedTo(owner, day)
  const isHeld =
    isSpent(gpuSecondsPerDay, ofDay.gpuSeconds) ||
    isSpent(budgetPerDayMicros, ofDay.micros) ||
    isSpent(budgetPerMonthMicros, usage.chargedTo(owner, monthOf(day)).micros)
  return isHeld ? 'budget' : undefined
}

function tenths(value: number): number {
  return Math.round(value * 10) / 10
}

function instant(atMs: number): string {
  return new Date(atMs).toISOString()
}
