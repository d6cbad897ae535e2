import {
  type Beat,
  isAtWork,
  isAwaited,
  nextDayMs,
  type ScaleReason,
  type Timings,
  type Wake,
} from '@avatar/contracts'
import type { Refusal, Survey } from './providers/provider.ts'

/** A worker that is there, by its last heartbeat. */
export type ScaleWorker = {
  pool: string
  state: Beat['state']
  /** Of what it has in hand; 0 when it has nothing. */
  remainingSeconds: number
  workerId: string
  incarnation: string
  /** While its engine loads: for how long, and whether it has failed to load before. */
  loading?: { seconds: number; isInTrouble: boolean }
}

/** How the provider has answered lately. */
export type Trouble = {
  /** Refusals in a row. */
  failures: number
  /** It is not asked before. */
  notBeforeMs: number
  /** It goes on refusing until somebody does something about it, a key or a payment. */
  isStopped: boolean
}

export const noTrouble: Trouble = { failures: 0, notBeforeMs: 0, isStopped: false }

/** All that the decision depends on. Amounts of money are in any one unit. */
export type ScaleInput = {
  nowMs: number
  /** The jobs that may start now, as far as caps and budgets of their owners allow. */
  jobs: readonly { estimatedSeconds: number }[]
  workers: readonly ScaleWorker[]
  /** Of the scaled pool. */
  wakes: readonly Wake[]
  limits: {
    pool: string
    min: number
    max: number
    targetWaitSeconds: number
    coldStartSeconds: number
  }
  timings: Pick<Timings, 'wakeDeadlineMs' | 'ringAgainMs'>
  /** Undefined while the ledger is not read: money that is not known is none. */
  money: { spentToday: number; budgetPerDay: number | undefined } | undefined
  survey?: Survey | undefined
  trouble: Trouble
  /** `doorbell`: each worker is rung for. `gauge`: something reads how many are wanted. `nobody`. */
  startedBy: 'doorbell' | 'gauge' | 'nobody'
}

/** What there is to do. No wake is in two of the lists. */
export type ScaleDecision = {
  /** How many workers there should be, all pools together. */
  wanted: number
  /** How many new wakes to ring for now. */
  ring: number
  /** Wakes to ring for once more: nobody knows whether they were. */
  ringAgain: readonly Wake[]
  /** Wakes for which no worker has come in time. */
  expire: readonly Wake[]
  /** Wakes that nobody needs any more. */
  withdraw: readonly Wake[]
  /** Every worker of the pool finishes what it has in hand, and leaves. */
  drainAll: boolean
  reason: ScaleReason
  /** When the reason ends, where that is known. */
  untilMs?: number
}

/** A wrong decision then costs two workers a pass, and not all of them at once. */
export const ringsPerPass = 2

/**
 * How many workers there should be, and what to do about it. No I/O, no clock.
 *
 * Work is counted and not jobs: several short ones share a worker, as long as each starts within the target.
 * Nobody is stopped for being too many: workers leave by themselves when they have nothing to do.
 */
export function decideScale(input: ScaleInput): ScaleDecision {
  const { nowMs, jobs, wakes, limits, timings, money, trouble, startedBy } = input
  const isOverBudget = money?.budgetPerDay !== undefined && money.spentToday >= money.budgetPerDay
  const wanted = isOverBudget ? 0 : wantedWorkers(input)

  const overdue = (wake: Wake, ms: number) => nowMs - wake.intendedAtMs >= ms
  const awaited = wakes.filter(isAwaited)
  const expire = awaited.filter((wake) => overdue(wake, timings.wakeDeadlineMs))
  const inTime = awaited.filter((wake) => !expire.includes(wake))
  const atWork = wakes.filter((wake) => isAtWork(wake) && !isLeaving(wake, input)).length
  // While a job waits nobody is called back: the next pass might ring for it again.
  const spare = jobs.length > 0 ? 0 : Math.max(0, inTime.length + atWork - limits.min)
  const withdrawn = isOverBudget ? inTime.length : Math.min(inTime.length, spare)
  const withdraw = latest(inTime, withdrawn)
  const kept = inTime.filter((wake) => !withdraw.includes(wake))

  const mayRing =
    startedBy === 'doorbell' && money !== undefined && !isOverBudget && trouble.notBeforeMs <= nowMs
  const missing = Math.max(0, wanted - kept.length - atWork - othersServing(input))
  const ring = mayRing ? Math.min(ringsPerPass, missing) : 0
  const ringAgain = mayRing
    ? kept.filter((wake) => wake.state === 'intended' && overdue(wake, timings.ringAgainMs))
    : []

  const decision = { wanted, ring, ringAgain, expire, withdraw, drainAll: isOverBudget }
  const isShort = missing > 0 || (kept.length > 0 && atWork + othersServing(input) === 0)
  return { ...decision, ...reasonOf(input, { isOverBudget, isShort, ring: ring > 0 }) }
}

function wantedWorkers({ jobs, workers, limits, survey }: ScaleInput): number {
  const busy = workers.filter((one) => isServing(one.state) && one.remainingSeconds > 0)
  const seconds =
    jobs.reduce((sum, { estimatedSeconds }) => sum + estimatedSeconds, 0) +
    busy.reduce((sum, { remainingSeconds }) => sum + remainingSeconds, 0)
  const share = Math.max(1, limits.coldStartSeconds + limits.targetWaitSeconds)
  // However short they are, jobs need somebody.
  const byWork = Math.max(1, Math.ceil(seconds / share))
  // A worker that finishes its last job takes its place until it is gone.
  const leaving = workers.filter(({ pool, state }) => pool === limits.pool && state === 'draining')
  const most = Math.max(0, Math.min(limits.max, survey?.maxWorkers ?? Infinity) - leaving.length)
  const useful = Math.min(jobs.length + busy.length, byWork)
  return Math.min(most, Math.max(limits.min, useful))
}

/**
 * Workers that take jobs, or soon will, and have no wake of the scaled pool: those of other pools. One whose
 * engine does not load is given no longer than a wake-up is, or it would keep others from being rung for.
 */
function othersServing({ workers, limits, timings }: ScaleInput): number {
  const comesInTime = ({ loading }: ScaleWorker) =>
    !loading || (!loading.isInTrouble && loading.seconds * 1000 < timings.wakeDeadlineMs)
  return workers.filter(
    (each) => each.pool !== limits.pool && isServing(each.state) && comesInTime(each),
  ).length
}

function isServing(state: Beat['state']): boolean {
  return state !== 'draining' && state !== 'gone'
}

/** Its worker takes no job any more. */
function isLeaving({ workerId, incarnation }: Wake, { workers }: ScaleInput): boolean {
  return workers.some(
    (worker) =>
      worker.workerId === workerId &&
      worker.incarnation === incarnation &&
      !isServing(worker.state),
  )
}

/** The last ones that were asked for: the others have waited longest, and come first. */
function latest(wakes: readonly Wake[], count: number): readonly Wake[] {
  return count === 0 ? [] : wakes.toSorted((a, b) => a.intendedAtMs - b.intendedAtMs).slice(-count)
}

function reasonOf(
  { nowMs, jobs, money, trouble, survey, startedBy }: ScaleInput,
  found: { isOverBudget: boolean; isShort: boolean; ring: boolean },
): { reason: ScaleReason; untilMs?: number } {
  if (found.isOverBudget) return { reason: 'budget_reached', untilMs: nextDayMs(nowMs) }
  if (!found.isShort) return { reason: jobs.length === 0 ? 'no_jobs' : 'enough' }
  if (startedBy === 'nobody') return { reason: 'no_worker_configured' }
  if (money === undefined) return { reason: 'money_unknown' }
  if (trouble.failures > 0) {
    const { notBeforeMs } = trouble
    return { reason: 'provider_away', ...(notBeforeMs > nowMs ? { untilMs: notBeforeMs } : {}) }
  }
  if (survey && isShortOfGpus(survey)) return { reason: 'no_capacity' }
  return { reason: found.ring ? 'ringing' : 'enough' }
}

/** Whether every worker that the provider knows waits for a GPU. */
export function isShortOfGpus({ throttledWorkers, otherWorkers }: Survey): boolean {
  return throttledWorkers > 0 && otherWorkers === 0
}

/**
 * The trouble after one more answer to a ring. The provider's own word on how long to wait counts; without
 * one the wait doubles. What only a person can cure is tried again at the next survey's time, or when a survey
 * tells something else.
 */
export function troubleAfter(
  before: Trouble,
  answer: { refused?: Refusal; retryAfterMs?: number },
  nowMs: number,
  timings: Pick<Timings, 'ringBackoffMs' | 'ringBackoffMaxMs' | 'surveyEveryMs'>,
): Trouble {
  if (answer.refused === undefined) return noTrouble
  const failures = before.failures + 1
  const doubled = timings.ringBackoffMs * 2 ** Math.min(20, failures - 1)
  const isStopped = answer.refused === 'not-allowed' || answer.refused === 'no-credit'
  const shortMs = answer.retryAfterMs ?? Math.min(timings.ringBackoffMaxMs, doubled)
  const waitMs = isStopped ? timings.surveyEveryMs : shortMs
  return { failures, notBeforeMs: nowMs + waitMs, isStopped }
}
