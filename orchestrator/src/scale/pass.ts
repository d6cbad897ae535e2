import {
  type Beat,
  beatSchema,
  type HelloAnswer,
  type HelloRequest,
  isAtWork,
  isAwaited,
  type ScaleReason,
  subjects,
  type Wake,
  type wakeOutcomes,
} from '@avatar/contracts'
import { learnColdStart, type PaceRecords, type Paces } from '@avatar/job-kit'
import {
  background,
  type Foundation,
  logFailure,
  type Runnable,
  subscription,
  together,
} from '@avatar/service-kit'
import type { DispatchRules } from '../dispatch/dispatch-rules.ts'
import type { LiveJobs } from '../records/live-jobs.ts'
import { createCrew } from './crew.ts'
import { createBiller } from './daily-bill.ts'
import { decideScale, noTrouble, type ScaleDecision, troubleAfter } from './decide-scale.ts'
import type { WorkerProvider } from './providers/provider.ts'
import type { ScaleTeller } from './scale-summary.ts'
import type { ScalerLease } from './scaler-lease.ts'
import { createSurveyor } from './survey.ts'
import type { Wakes } from './wake.ts'
import {
  decideHello,
  endedWake,
  type HelloDecision,
  intendedWake,
  isOf,
  lostWake,
  rungWake,
  silentWakes,
  wakeAfterBeat,
} from './wake-steps.ts'

/** What the operator allows the scaled pool. */
export type ScaleSettings = {
  pool: string
  min: number
  max: number
  targetWaitSeconds: number
  coldStartSeconds: number
  idleSeconds: number
  lifetimeSeconds: number
}

export type ScalerDeps = Pick<Foundation, 'bus' | 'clock' | 'log' | 'metrics' | 'timings'> & {
  settings: ScaleSettings
  provider: WorkerProvider
  wakes: Wakes
  lease: ScalerLease
  teller: ScaleTeller
  /** The currency of prices. */
  currency: string
  liveJobs: Pick<LiveJobs, 'find' | 'isReady' | 'startableSeconds'>
  rules: Pick<DispatchRules, 'money' | 'priceMicrosOf'>
  paces: Pick<Paces, 'startSecondsOf'>
  paceRecords: PaceRecords
}

/** Decides how many workers there are, and lets them in. */
export type Scaler = Runnable & {
  /** Decides once. @returns what it decided; undefined when it is not ours to decide, or too early */
  runOnce(): Promise<ScaleDecision | undefined>
  /** Undefined when this orchestrator does not decide: the worker asks again. */
  hello(request: HelloRequest): Promise<HelloAnswer | undefined>
}

/**
 * One orchestrator decides every few seconds, whoever holds the lease. Each step is written down before the
 * next one: whatever a crash leaves, the next pass goes on from the records.
 */
export function createScaler(deps: ScalerDeps): Scaler {
  const { bus, clock, log, timings, settings, provider, wakes, lease, teller } = deps
  const { liveJobs, rules, paces } = deps
  const instruments = deps.metrics.of('orchestrator')
  const crew = createCrew(timings.silentAfterMs)
  const surveyor = createSurveyor({ provider, clock, log, timings })
  const biller = createBiller({ ...deps, pool: settings.pool })
  const exclusive = oneAtATime()
  const startedBy =
    provider.name === 'none' ? 'nobody' : provider.rings ? 'doorbell' : ('gauge' as const)
  let trouble = noTrouble
  let decided: ScaleDecision | undefined
  let busyWorkers = 0
  let lastReason: ScaleReason | undefined
  /** Since when we hear who is there without a break. */
  let listeningSinceMs = -Infinity
  let lastPassMs = -Infinity
  let signOfLifeMs = clock.monotonicMs()

  const count = (outcome: (typeof wakeOutcomes)[number]) =>
    instruments.wakeups_total.add(1, { provider: provider.name, outcome })
  const isOurs = ({ provider: by, pool }: Wake) => by === provider.name && pool === settings.pool
  const ofPool = () => wakes.all().filter(isOurs)
  const workers = () =>
    crew.workers(
      clock.monotonicMs(),
      (jobId) => liveJobs.find(jobId)?.value.estimatedSeconds ?? settings.targetWaitSeconds,
    )
  const coldStartSeconds = () => paces.startSecondsOf(settings.pool) ?? settings.coldStartSeconds

  instruments.workers_wanted.observe((tell) => {
    if (!decided || !lease.isHeld()) return
    // KEDA counts running pods against it, and those that are busy must not look superfluous.
    const told = startedBy === 'gauge' ? Math.max(decided.wanted, busyWorkers) : decided.wanted
    tell(told, { pool: settings.pool })
  })
  instruments.endpoint_max_workers.observe((tell) => {
    const max = surveyor.toldMax()
    if (max !== undefined && lease.isHeld()) tell(max, { provider: provider.name })
  })

  /** Whether this orchestrator may decide now: it holds the lease and has listened for long enough. */
  async function mayDecide(): Promise<boolean> {
    if (!(await bus.ping(timings.watchRoundTripMs))) {
      listeningSinceMs = Infinity
      return false
    }
    const nowMs = clock.monotonicMs()
    // Silent, suspended or cut off: what was heard before may be old.
    const wasAway = nowMs - lastPassMs > Math.max(timings.watchGapMs, 2 * timings.scaleEveryMs)
    if (wasAway || listeningSinceMs === Infinity) listeningSinceMs = nowMs
    lastPassMs = nowMs
    if (!(await lease.renew())) return false
    if (nowMs - listeningSinceMs < timings.scaleQuietMs) return false
    return wakes.isReady() && (liveJobs.isReady?.() ?? true)
  }

  async function runOnce(): Promise<ScaleDecision | undefined> {
    if (!(await mayDecide())) {
      decided = undefined
      return undefined
    }
    return exclusive(async () => {
      await endSilent()
      decided = decide()
      const oldest = Math.min(
        ...ofPool()
          .filter(isAwaited)
          .map((wake) => wake.intendedAtMs),
      )
      const newest = Math.max(...ofPool().map((wake) => wake.intendedAtMs))
      const hasNews = await surveyor.lookIfDue({
        // Also where the provider's own maximum allows none.
        isAboutToRing: decided.ring > 0 || decided.reason !== 'no_jobs',
        sinceLastWakeMs: clock.nowMs() - newest,
        longestWaitMs: Math.max(0, clock.nowMs() - oldest),
      })
      if (hasNews) {
        if (trouble.isStopped) trouble = noTrouble
        decided = decide()
      }
      await act(decided)
      return decided
    })
  }

  function decide(): ScaleDecision {
    const nowMs = clock.nowMs()
    const there = workers()
    busyWorkers = there.filter(({ remainingSeconds }) => remainingSeconds > 0).length
    const money = rules.money()
    const isFree = rules.priceMicrosOf(settings.pool) === 0
    return decideScale({
      nowMs,
      // A worker that is woken for a job that it cannot do costs, and brings nothing.
      jobs: liveJobs
        .startableSeconds(nowMs, (needs) => crew.mayDo(settings.pool, needs))
        .map((estimatedSeconds) => ({ estimatedSeconds })),
      workers: there,
      wakes: ofPool(),
      limits: { ...settings, coldStartSeconds: coldStartSeconds() },
      timings,
      // A budget stops what costs, and a pool without a price goes on.
      money: isFree ? { spentToday: 0, budgetPerDay: undefined } : money,
      survey: surveyor.latest(),
      trouble,
      startedBy,
    })
  }

  async function act(decision: ScaleDecision) {
    const { wanted, reason, untilMs } = decision
    await teller.tell(
      {
        ...{ provider: provider.name, pool: settings.pool, wanted, reason },
        ...(untilMs === undefined ? {} : { untilMs }),
        coldStartSeconds: Math.round(coldStartSeconds()),
      },
      clock.nowMs(),
    )
    if (reason !== lastReason)
      log.info({ provider: provider.name, pool: settings.pool, wanted, reason }, 'workers wanted')
    lastReason = reason
    if (decision.drainAll) for (const worker of workers()) drain(worker, 'the budget is spent')
    for (const wake of decision.expire) await lose(wake, 'lost', 'nobody came in time')
    for (const wake of decision.withdraw) await lose(wake, 'withdrawn', 'nobody needs it any more')
    for (const wake of decision.ringAgain) await ring(wake)
    for (let left = decision.ring; left > 0 && mayRing(); left--) {
      const wake = intendedWake({ provider: provider.name, pool: settings.pool }, clock.nowMs())
      await wakes.create(wake)
      await ring(wake)
    }
    await showSignOfLife()
    await biller.postIfDue()
  }

  const mayRing = () => trouble.notBeforeMs <= clock.nowMs()

  /** A call of the provider may take as long as the lease, so that is renewed before each. */
  async function ring(wake: Wake) {
    if (!mayRing() || !(await lease.renew())) return
    const answer = await provider.ring(wake)
    signOfLifeMs = clock.monotonicMs()
    const isRefused = 'refused' in answer
    trouble = troubleAfter(trouble, isRefused ? answer : {}, clock.nowMs(), timings)
    if (isRefused) {
      count(answer.refused)
      const { wakeId } = wake
      log.warn({ wakeId, provider: provider.name, reason: answer.refused }, 'wake-up refused')
      return
    }
    count('rung')
    log.info({ wakeId: wake.wakeId, provider: provider.name }, 'worker rung for')
    await wakes.change(wake, (present) => rungWake(present, answer.ref, clock.nowMs()))
  }

  /** Written down first: a worker that comes late is told to leave, whether it was taken back or not. */
  async function lose(wake: Wake, outcome: 'lost' | 'withdrawn', reason: string) {
    const after = await wakes.change(wake, (present) => lostWake(present, reason, clock.nowMs()))
    if (after?.state !== 'lost') return
    count(outcome)
    log.info({ wakeId: wake.wakeId, reason }, 'wake-up taken back')
    if (after.ref === undefined) return
    await provider
      .withdraw(after.ref)
      .catch((error) => logFailure(log, error, 'doorbell not taken back', { wakeId: wake.wakeId }))
  }

  /** Ends the wake-ups whose workers have gone without a word. */
  async function endSilent() {
    const nowMs = clock.monotonicMs()
    const silent = silentWakes(
      ofPool(),
      {
        ageMsOf: (wake) => crew.ageMsOf(wake, nowMs),
        listeningForMs: nowMs - listeningSinceMs,
        silentAfterMs: timings.wakeSilentMs,
        helloGiveUpMs: timings.helloGiveUpMs,
      },
      clock.nowMs(),
    )
    for (const wake of silent) {
      const ageMs = crew.ageMsOf(wake, nowMs)
      const about = {
        reason: 'its worker is not heard any more',
        lastSeenAtMs: ageMs === undefined ? undefined : Math.round(clock.nowMs() - ageMs),
      }
      await wakes.change(wake, (present) => endedWake(present, about, clock.nowMs()))
      count('ended')
      log.warn({ wakeId: wake.wakeId, workerId: wake.workerId ?? '' }, 'worker fell silent')
    }
  }

  async function showSignOfLife() {
    if (!provider.rings || clock.monotonicMs() - signOfLifeMs < timings.signOfLifeEveryMs) return
    signOfLifeMs = clock.monotonicMs()
    await provider
      .showSignOfLife()
      .catch((error) => logFailure(log, error, 'no sign of life to the provider'))
  }

  function drain(worker: { pool: string; state: Beat['state']; workerId: string }, reason: string) {
    if (worker.pool !== settings.pool || worker.state === 'draining' || worker.state === 'gone')
      return
    bus.publishCore(subjects.drain(worker.workerId), { reason })
  }

  async function onBeat(beat: Beat) {
    crew.note(beat, clock.monotonicMs())
    if (beat.pool !== settings.pool || !lease.isHeld()) return
    if (decided?.drainAll) drain({ ...beat, pool: settings.pool }, 'the budget is spent')
    const wake = ofPool().find((each) => isOf(each, beat))
    if (!wake) return
    // Its wake-up has ended while nobody heard it: it is given no job any more, and need not stay.
    if (!isAtWork(wake)) return drain({ ...beat, pool: settings.pool }, 'its wake-up has ended')
    if (!wakeAfterBeat(wake, beat, clock.nowMs())) return
    // Of several heartbeats that are handled at once, one changes it.
    let after: Wake | undefined
    await wakes.change(wake, (present) => {
      after = wakeAfterBeat(present, beat, clock.nowMs())
      return after
    })
    if (after?.state === 'ended') count('ended')
    if (after?.state === 'ready') await onReady(after)
  }

  async function onReady(wake: Wake) {
    count('ready')
    const tookSeconds = ((wake.readyAtMs ?? 0) - wake.intendedAtMs) / 1000
    log.info(
      { wakeId: wake.wakeId, workerId: wake.workerId ?? '', durationMs: tookSeconds * 1000 },
      'worker ready',
    )
    if (tookSeconds >= 0) await learnColdStart(deps.paceRecords, wake.pool, tookSeconds)
  }

  async function hello(request: HelloRequest): Promise<HelloAnswer | undefined> {
    return exclusive(async () => {
      if (!decided || !lease.isHeld()) return undefined
      const { wanted } = decided
      let decision = helloOf(request, wanted, wakes.all())
      if (decision.change) {
        const isNew = request.wakeId === undefined
        // What it is by now decides, and not what the watch has told so far.
        const written = isNew
          ? await wakes.create(decision.change)
          : await wakes.change(decision.change, (present) => {
              decision = helloOf(request, wanted, [...others(present), present])
              return decision.change
            })
        if (!written) return undefined
      }
      noteHello(request, decision)
      return decision.answer
    })
  }

  function noteHello({ workerId, wakeId }: HelloRequest, { answer, change }: HelloDecision) {
    if (change?.state === 'started') count('started')
    if (change?.state === 'ended') count('ended')
    const reason = answer.answer === 'leave' ? answer.reason : 'it is wanted'
    log.info({ workerId, ...(wakeId ? { wakeId } : {}), answer: answer.answer, reason }, 'hello')
  }

  const others = (present: Wake) => wakes.all().filter(({ wakeId }) => wakeId !== present.wakeId)

  function helloOf(request: HelloRequest, wanted: number, all: readonly Wake[]): HelloDecision {
    const known = all.filter(isOurs)
    const there = workers()
    const leaving = known.filter((wake) =>
      there.some((worker) => worker.state === 'draining' && isOf(wake, worker)),
    )
    return decideHello({
      ...{ request, wanted, wakes: known, provider: provider.name },
      leaving: new Set(leaving.map(({ wakeId }) => wakeId)),
      limits: settings,
      givesWakes: !provider.rings,
      nowMs: clock.nowMs(),
    })
  }

  const beats = subscription({
    ...{ bus, subject: subjects.beat('*'), schema: beatSchema, handle: onBeat },
  })
  const loop = background({ ...deps, name: 'scaler', everyMs: timings.scaleEveryMs, pass: runOnce })
  return { ...together(wakes, beats, loop), runOnce, hello }
}

/** Runs what it is given one after the other: a decision and a hello must not count the same wakes at once. */
function oneAtATime() {
  let last: Promise<unknown> = Promise.resolve()
  return <T>(work: () => Promise<T>): Promise<T> => {
    const run = last.then(work)
    last = run.catch(() => undefined)
    return run
  }
}
