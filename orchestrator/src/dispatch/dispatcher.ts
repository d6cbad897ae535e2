import {
  canDo,
  type NextAnswer,
  type NextJob,
  type NextRequest,
  offersKey,
  spanNames,
} from '@avatar/contracts'
import {
  background,
  type Foundation,
  logFailure,
  outsideSpans,
  type Runnable,
  together,
} from '@avatar/service-kit'
import { answering } from '../observations/answer-span.ts'
import type { WorkerPaces } from '../paces/worker-paces.ts'
import { isClaimedUnder, type JobWriter } from '../records/job-writer.ts'
import type { LiveJobs } from '../records/live-jobs.ts'
import type { Claim } from '../states/decide.ts'
import type { DispatchRules } from './dispatch-rules.ts'
import { type AskOutcome, createHeldAsks, type HeldAsk } from './held-asks.ts'
import type { RenderOrders } from './render-order.ts'
import { suspensionWatch } from './suspension.ts'

/** A job without a record for so long is forgotten: whoever answers may not have it yet, as `isBehind` tells. */
const missingForMs = 5_000

export type DispatcherDeps = Pick<Foundation, 'bus' | 'clock' | 'log' | 'timings'> & {
  writer: Pick<JobWriter, 'find' | 'claim'>
  liveJobs: LiveJobs
  renderOrder: RenderOrders
  workerPaces: Pick<WorkerPaces, 'renderSeconds'>
  rules: Pick<DispatchRules, 'priceMicrosOf' | 'isBudgetSpent'>
}

/** Answers the workers' asks for work. `answer` yields nothing where nobody reads an answer any more. */
export type Dispatcher = Runnable & {
  answer(request: NextRequest): Promise<NextAnswer | undefined>
}

/**
 * Gives each ask the job that is next in the fair order, and claims it in the same step. It serves the asks
 * one after the other, so this process never races itself; against another one the
 * compare-and-set of the claim decides.
 *
 * An ask for which there is no job is parked for as long as its worker waits, if that one is idle: the
 * loop wakes when a record changes, when a back-off ends, and when an ask is over.
 */
export function createDispatcher(deps: DispatcherDeps): Dispatcher {
  const { bus, clock, log, timings, writer, liveJobs, renderOrder, rules, workerPaces } = deps
  const held = createHeldAsks(timings.askGraceMs)
  let woken = new AbortController()
  /** Until when the loop sleeps, in monotonic ms. */
  let sleepsUntilMs = -Infinity
  const suspension = suspensionWatch({
    ...{ clock, log, suspendedAfterMs: timings.suspendedAfterMs },
    ping: () => bus.ping(timings.watchRoundTripMs),
    onSuspended: () => held.settleAll('dropped'),
    onFresh: () => serveNow(),
  })
  /** How often the loop picks at least: a limit may have been lifted, of which no record tells. */
  const pickEveryMs = timings.askParkMs / 4
  let isRunning = false
  /** The job that was to be claimed, and has no record. */
  let missing: { jobId: string; sinceMs: number } | undefined

  const isAwaited = (ask: HeldAsk) =>
    !suspension.isStale() && held.isAwaited(ask, clock.monotonicMs())

  /** With the service's budget spent, only workers that cost nothing go on. */
  const isAffordable = (ask: HeldAsk) => ask.priceMicros === 0 || !rules.isBudgetSpent()

  let isServing = false
  let isDue = false

  /** Serves all asks. Whoever calls meanwhile has them served once more, by the call under way. */
  async function serve() {
    isDue = true
    if (isServing) return
    isServing = true
    try {
      while (isDue && isRunning) {
        isDue = false
        if (suspension.isStale()) return
        held.dropUnawaited(clock.monotonicMs())
        await answerRepeated()
        await giveJobs()
      }
    } finally {
      isServing = false
    }
  }

  /** At once, and not at the next turn of the loop: a timer takes a millisecond, in which a GPU may wait. */
  function serveNow() {
    // Whoever calls has changed a record, and has nothing to do with the asks that this serves.
    outsideSpans(serve)
      .catch((error) => logFailure(log, error, 'asks not served'))
      .finally(wakeInTime)
  }

  /** Wakes the loop if it would sleep too long. A change rarely makes it so, and there are a dozen for a job. */
  function wakeInTime() {
    if (clock.monotonicMs() + untilNextMs() < sleepsUntilMs) woken.abort()
  }

  /** The loop serves what no call brings about: asks that are over, back-offs that end, limits lifted. */
  async function pass(signal: AbortSignal) {
    woken = new AbortController()
    const waiting = AbortSignal.any([signal, woken.signal])
    await serve()
    const sleepMs = untilNextMs()
    sleepsUntilMs = clock.monotonicMs() + sleepMs
    await clock.wait(sleepMs, waiting)
    sleepsUntilMs = -Infinity
  }

  /** An answer that was lost is given again, under the same epoch. */
  async function answerRepeated() {
    for (const ask of held.inOrder()) {
      const job = liveJobs.claimedUnder(ask.ask)
      if (!job || !isRunning) continue
      await orFail(ask, async () => {
        const found = await writer.find(job.owner, job.jobId)
        if (found && isClaimedUnder(found.value, ask.ask)) return held.give(ask, found.value)
        note(job.jobId, found)
      })
    }
  }

  async function giveJobs() {
    let passedBy: string | undefined
    while (isRunning) {
      const match = firstMatch()
      // What was passed by and is picked again: the watch will tell why it may not start.
      if (!match || match.next.jobId === passedBy) break
      const { ask, next } = match
      await orFail(ask, async () => {
        passedBy = (await claim(ask, next)) ? undefined : next.jobId
      })
    }
    held.settleUnparked(clock.monotonicMs())
  }

  /** The first ask for which there is a job that its worker can do. */
  function firstMatch(): { ask: HeldAsk; next: NextJob } | undefined {
    const tried = new Set<string>()
    for (const ask of held.inOrder()) {
      if (!isAwaited(ask) || !isAffordable(ask)) continue
      // There may be many asks, of few kinds of workers.
      const kind = offersKey(ask.offers)
      if (tried.has(kind)) continue
      tried.add(kind)
      const next = liveJobs.pick(clock.nowMs(), (needs) => canDo(ask.offers, needs))
      if (next) return { ask, next }
    }
    return undefined
  }

  /** @returns whether it is this ask that is dealt with now, and not the job */
  async function claim(ask: HeldAsk, next: NextJob): Promise<boolean> {
    const job = liveJobs.find(next.jobId)?.value
    if (!job) return false
    const estimatedSeconds = workerPaces.renderSeconds(job.frames, job.needs, ask)
    const claiming = claimOf(ask, next, estimatedSeconds)
    const claimed = await writer.claim(next, claiming, () => isAwaited(ask))
    switch (claimed.outcome) {
      case 'claimed':
        missing = undefined
        held.give(ask, claimed.job)
        return true
      case 'unawaited':
        held.settle(ask, 'dropped')
        return true
      case 'passed':
        note(next.jobId, claimed.found)
        return false
    }
  }

  function note(jobId: string, found: Awaited<ReturnType<JobWriter['find']>>) {
    if (found) return liveJobs.note(found.value, found.revision)
    const nowMs = clock.monotonicMs()
    if (missing?.jobId !== jobId) missing = { jobId, sinceMs: nowMs }
    if (nowMs - missing.sinceMs >= missingForMs) liveJobs.correct(jobId, undefined)
  }

  /** A failure is this worker's answer: it asks again, under the same name. */
  async function orFail(ask: HeldAsk, work: () => Promise<void>) {
    try {
      await work()
    } catch (error) {
      held.fail(ask, error)
    }
  }

  function untilNextMs(): number {
    if (held.inOrder().length === 0) return pickEveryMs
    const overMs = held.nextOverMs() - clock.monotonicMs()
    const nowMs = clock.nowMs()
    const startMs = liveJobs.nextBackoffEndMs(nowMs) - nowMs
    return Math.max(1, Math.ceil(Math.min(pickEveryMs, overMs, startMs)))
  }

  const loop = background({ ...deps, name: 'dispatcher', everyMs: 0, pass })
  return {
    ...together(loop, suspension),
    async start() {
      isRunning = true
      await suspension.start()
      liveJobs.whenChanged(() => {
        if (held.inOrder().length > 0) serveNow()
      })
      await loop.start()
    },
    async stop() {
      isRunning = false
      held.settleAll('none')
      await Promise.all([loop.stop(), suspension.stop()])
    },
    async answer(request) {
      if (suspension.isStale()) return undefined
      if (!isRunning) return { answer: 'none' }
      const arrivedMs = clock.monotonicMs()
      const outcome = await new Promise<AskOutcome>((settle, fail) => {
        const priceMicros = rules.priceMicrosOf(request.pool)
        held.add({ ...request, arrivedMs, priceMicros, settle, fail })
        serveNow()
      })
      if (outcome === 'dropped') return undefined
      if (outcome === 'none') return { answer: 'none' }
      // Should this fail, the job stays claimed for this ask, which gets it when it comes again.
      const { job } = outcome
      const asked = { attempt: job, fromMs: job.claimedAtMs ?? clock.nowMs() }
      return answering(clock, spanNames.answerClaim, asked, () => renderOrder(job))
    },
  }
}

function claimOf(ask: HeldAsk, next: NextJob, estimatedSeconds: number): Claim {
  const { workerId, incarnation, pool, priceMicros } = ask
  const worker = { workerId, incarnation, ask: ask.ask, pool, priceMicros }
  const turn = { start: next.turn.start, seconds: estimatedSeconds }
  return { kind: 'claim', ...worker, turn, estimatedSeconds }
}
