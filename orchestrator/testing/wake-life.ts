import { type Beat, isAtWork, timings, type Wake } from '@avatar/contracts'
import {
  decideScale,
  noTrouble,
  type ScaleDecision,
  type ScaleWorker,
  troubleAfter,
} from '../src/scale/decide-scale.ts'
import type { Ringing } from '../src/scale/providers/provider.ts'
import {
  decideHello,
  endedWake,
  intendedWake,
  isOf,
  lostWake,
  rungWake,
  silentWakes,
  wakeAfterBeat,
} from '../src/scale/wake-steps.ts'

const dayMs = 86_400_000
const pool = 'runpod'

/** What a run is about. */
export type WakeLifeOptions = {
  seed: number
  /** Seconds of the system's life; after them it has two quiet hours without any fault. */
  steps: number
  /** Jobs a day, four fifths of them in ten hours. */
  jobsPerDay: number
  /** GPU seconds a day; none without it. */
  budgetSeconds?: number
  max?: number
}

/** What came of it. */
export type WakeLifeResult = {
  steps: number
  jobs: number
  done: number
  /** Jobs that were not done although all had been well for two hours and the budget was renewed. */
  stuck: number
  /** The most workers at the same time that had been told to work. */
  mostPastHello: number
  rings: number
  /** Workers told to leave before they loaded anything. */
  sentAway: number
  crashes: number
  /** GPU seconds past the budget, at most, on any day. */
  overspentSeconds: number
  longestJobSeconds: number
}

type Job = { seconds: number; worker: Worker | undefined; againAtMs: number; isDone: boolean }
type Doorbell = { wakeId: string; ref: string; comesAtMs: number; container: Worker | undefined }
type Worker = {
  id: string
  wakeId: string
  state: 'hello' | Beat['state']
  untilMs: number
  leavesHelloAtMs: number
  job: Job | undefined
  idleSinceMs: number
  isTold: boolean
  isDraining: boolean
}

/** The orchestrator died between two lines. */
class Crash extends Error {
  override readonly name = 'Crash'
}

/**
 * The wake-up, one second a step, around its real decisions: an orchestrator that dies between any two lines, a
 * provider that loses, doubles, delays, refuses and throttles doorbells, and workers that are killed.
 */
export function liveThroughWakes(options: WakeLifeOptions): WakeLifeResult {
  const { steps, max = 5 } = options
  const random = mulberry32(options.seed)
  const chance = (share: number) => random() < share
  const between = (least: number, most: number) => least + random() * (most - least)
  const limits = { pool, min: 0, max, targetWaitSeconds: 300, coldStartSeconds: 90 }

  let nowMs = 20_000 * dayMs
  let isCalm = false
  let names = 0
  const wakes = new Map<string, Wake>()
  let jobs: Job[] = []
  let doorbells: Doorbell[] = []
  let workers: Worker[] = []
  let throttledUntilMs = 0
  let providerAwayUntilMs = 0
  let spentToday = 0
  const result: WakeLifeResult = {
    ...{ steps: 0, jobs: 0, done: 0, stuck: 0, mostPastHello: 0, rings: 0, sentAway: 0, crashes: 0 },
    ...{ overspentSeconds: 0, longestJobSeconds: 0 },
  }

  // What the orchestrator forgets when it dies.
  let downUntilMs = 0
  let heard = new Map<string, { beat: Beat; atMs: number }>()
  let listeningSinceMs = nowMs
  let trouble = noTrouble
  let decided: ScaleDecision | undefined

  const isUp = () => nowMs >= downUntilMs
  const money = () => ({ spentToday, budgetPerDay: options.budgetSeconds })

  /** Here it may die. */
  function line() {
    if (!isCalm && chance(0.002)) throw new Crash()
  }

  function die() {
    result.crashes++
    downUntilMs = nowMs + between(2, 60) * 1000
    heard = new Map()
    trouble = noTrouble
    decided = undefined
    listeningSinceMs = downUntilMs
  }

  const change = (wake: Wake, next: (present: Wake) => Wake | undefined): Wake | undefined => {
    line()
    const present = wakes.get(wake.wakeId)
    const changed = present && next(present)
    if (changed) wakes.set(wake.wakeId, changed)
    line()
    return changed ?? present
  }

  const heardWorkers = (): ScaleWorker[] =>
    [...heard.values()]
      .filter(({ beat, atMs }) => nowMs - atMs <= timings.silentAfterMs && beat.state !== 'gone')
      .map(({ beat }) => ({
        ...{ pool, state: beat.state, workerId: beat.workerId, incarnation: beat.incarnation },
        remainingSeconds: beat.jobs[0]?.remainingSeconds ?? 0,
      }))

  function pass() {
    if (nowMs - listeningSinceMs < timings.scaleQuietMs) return
    const ageMsOf = (wake: Wake) => {
      const one = heard.get(wake.workerId ?? '')
      return one && isOf(wake, one.beat) ? nowMs - one.atMs : undefined
    }
    const { wakeSilentMs: silentAfterMs, helloGiveUpMs } = timings
    const patience = { listeningForMs: nowMs - listeningSinceMs, silentAfterMs, helloGiveUpMs }
    for (const wake of silentWakes([...wakes.values()], { ageMsOf, ...patience }, nowMs))
      change(wake, (present) => endedWake(present, { reason: 'silent' }, nowMs))
    decided = decideScale({
      ...{ nowMs, limits, timings, trouble, money: money(), startedBy: 'doorbell' },
      jobs: waiting().map(({ seconds }) => ({ estimatedSeconds: seconds })),
      workers: heardWorkers(),
      wakes: [...wakes.values()],
    })
    if (decided.drainAll) for (const worker of workers) worker.isDraining = true
    for (const wake of [...decided.expire, ...decided.withdraw]) lose(wake)
    for (const wake of decided.ringAgain) ring(wake)
    for (let left = decided.ring; left > 0 && trouble.notBeforeMs <= nowMs; left--) {
      const wake = intendedWake({ provider: 'runpod', pool }, nowMs, newName().padStart(24, '0'))
      line()
      wakes.set(wake.wakeId, wake)
      line()
      ring(wake)
    }
  }

  function lose(wake: Wake) {
    const after = change(wake, (present) => lostWake(present, 'not needed', nowMs))
    if (after?.state !== 'lost' || nowMs < providerAwayUntilMs) return
    doorbells = doorbells.filter(({ ref, container }) => ref !== after.ref || container)
  }

  function ring(wake: Wake) {
    if (trouble.notBeforeMs > nowMs) return
    const answer = provider(wake.wakeId)
    result.rings++
    line()
    trouble = troubleAfter(trouble, 'refused' in answer ? answer : {}, nowMs, timings)
    if ('ref' in answer) change(wake, (present) => rungWake(present, answer.ref, nowMs))
  }

  /** What the provider makes of a ring. */
  function provider(wakeId: string): Ringing {
    if (nowMs < providerAwayUntilMs) return { refused: 'away' }
    const ref = newName()
    if (!isCalm) {
      if (chance(0.05)) return { refused: 'rate-limited', retryAfterMs: 5_000 }
      if (chance(0.05)) return { refused: 'away' }
      if (chance(0.05)) return { ref }
    }
    const bells = !isCalm && chance(0.05) ? 2 : 1
    for (let n = 0; n < bells; n++) {
      const lateMs = !isCalm && chance(0.03) ? between(60, 900) * 1000 : 0
      const comesAtMs = nowMs + between(3, 40) * 1000 + lateMs
      doorbells.push({ wakeId, ref, comesAtMs, container: undefined })
    }
    return !isCalm && chance(0.05) ? { refused: 'away' } : { ref }
  }

  /** The provider starts a container for each doorbell: here its own maximum protects nobody. */
  function startContainers() {
    if (nowMs < throttledUntilMs) return
    for (const bell of doorbells) {
      if (bell.container || bell.comesAtMs > nowMs || workers.length >= 4 * max) continue
      const leavesHelloAtMs = nowMs + timings.helloGiveUpMs
      bell.container = {
        ...{ id: newName(), wakeId: bell.wakeId, state: 'hello', untilMs: nowMs, leavesHelloAtMs },
        ...{ job: undefined, idleSinceMs: 0, isTold: false, isDraining: false },
      }
      workers.push(bell.container)
    }
  }

  function hello(worker: Worker) {
    if (nowMs >= worker.leavesHelloAtMs) return end(worker)
    if (nowMs < worker.untilMs) return
    worker.untilMs = nowMs + timings.helloAgainMs
    if (!isUp() || !decided) return
    const decision = decideHello({
      request: { workerId: worker.id, incarnation: 'i', pool, wakeId: worker.wakeId, contracts: 1 },
      wakes: [...wakes.values()],
      leaving: leavingWakes(),
      wanted: decided.wanted,
      limits: { ...limits, idleSeconds: 30, lifetimeSeconds: 21_600 },
      ...{ givesWakes: false, provider: 'runpod', nowMs },
    })
    const { change: written, answer } = decision
    if (written) change(written, () => written)
    // The answer may be lost: then it is asked again.
    if (!isCalm && chance(0.05)) return
    if (answer.answer === 'leave') {
      result.sentAway++
      return end(worker)
    }
    worker.state = 'loading'
    worker.isTold = true
    worker.untilMs = nowMs + between(30, 100) * 1000
  }

  const leavingWakes = () =>
    new Set(
      [...wakes.values()]
        .filter((wake) => heardWorkers().some((one) => one.state === 'draining' && isOf(wake, one)))
        .map(({ wakeId }) => wakeId),
    )

  function end(worker: Worker) {
    workers = workers.filter((other) => other !== worker)
    doorbells = doorbells.filter(({ container }) => container !== worker)
    if (worker.job) {
      worker.job.worker = undefined
      worker.job.againAtMs = nowMs + 45_000
    }
  }

  function leave(worker: Worker) {
    worker.state = 'gone'
    try {
      if (isCalm || !chance(0.1)) beat(worker)
    } finally {
      // It leaves, whatever becomes of the orchestrator that hears of it.
      end(worker)
    }
  }

  function work(worker: Worker) {
    if (worker.state === 'hello') return hello(worker)
    spentToday += 1
    if (worker.state === 'loading' && nowMs >= worker.untilMs) {
      worker.state = 'ready'
      worker.idleSinceMs = nowMs
    }
    if (worker.job && nowMs >= worker.untilMs) {
      worker.job.isDone = true
      worker.job.worker = undefined
      result.done++
      worker.job = undefined
      worker.state = 'ready'
      worker.idleSinceMs = nowMs
    }
    if (worker.isDraining && !worker.job) return leave(worker)
    if (worker.state === 'ready') take(worker)
    if (worker.state === 'ready' && nowMs - worker.idleSinceMs >= 30_000) leave(worker)
  }

  /** A job is given only to a worker whose wake-up is at work, and none over the budget. */
  function take(worker: Worker) {
    const wake = wakes.get(worker.wakeId)
    const isAdmitted = wake && isAtWork(wake) && isOf(wake, { workerId: worker.id, incarnation: 'i' })
    if (!isUp() || !isAdmitted || isOverBudget()) return
    const [job] = waiting()
    if (!job) return
    job.worker = worker
    worker.job = job
    worker.state = 'rendering'
    worker.untilMs = nowMs + job.seconds * 1000
  }

  function beat(worker: Worker) {
    if (!isUp() || worker.state === 'hello') return
    const remainingSeconds = worker.job ? Math.max(1, (worker.untilMs - nowMs) / 1000) : 0
    const told: Beat = {
      ...{ workerId: worker.id, incarnation: 'i', engine: 'null', secondsPerVideoSecond: 1 },
      state: worker.isDraining && worker.state !== 'gone' ? 'draining' : worker.state,
      atMs: nowMs,
      jobs: worker.job ? [heldJob(remainingSeconds)] : [],
    }
    if (told.state === 'gone') heard.delete(worker.id)
    else heard.set(worker.id, { beat: told, atMs: nowMs })
    const wake = wakes.get(worker.wakeId)
    if (wake && wakeAfterBeat(wake, told, nowMs))
      change(wake, (present) => wakeAfterBeat(present, told, nowMs))
  }

  const isOverBudget = () =>
    options.budgetSeconds !== undefined && spentToday >= options.budgetSeconds
  const waiting = () => jobs.filter((job) => !job.isDone && !job.worker && job.againAtMs <= nowMs)
  const newName = () => String(++names)

  function submit() {
    const hour = (nowMs / 3_600_000) % 24
    const perSecond = (options.jobsPerDay * (hour < 10 ? 0.8 / 10 : 0.2 / 14)) / 3600
    if (isCalm || !chance(perSecond)) return
    // Voices of 20 s in the median, at 6.7 times their length.
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
    const seconds = Math.min(600, Math.max(5, 20 * Math.exp(0.8 * normal) * 6.7))
    jobs.push({ seconds, worker: undefined, againAtMs: nowMs, isDone: false })
    result.jobs++
    result.longestJobSeconds = Math.max(result.longestJobSeconds, seconds)
  }

  function faults() {
    if (isCalm) return
    if (chance(1 / 20_000)) throttledUntilMs = nowMs + between(60, 1_800) * 1000
    if (chance(1 / 20_000)) providerAwayUntilMs = nowMs + between(10, 3_600) * 1000
    if (chance(1 / 5_000)) die()
    if (workers.length > 0 && chance(workers.length / 3_000)) {
      const victim = workers[Math.floor(random() * workers.length)]
      if (victim) end(victim)
    }
  }

  function orDie(act: () => void) {
    try {
      act()
    } catch (error) {
      if (!(error instanceof Crash)) throw error
      die()
    }
  }

  function step() {
    result.steps++
    nowMs += 1_000
    const second = nowMs / 1000
    if (nowMs % dayMs === 0) spentToday = 0
    submit()
    faults()
    if (isUp() && second % 5 === 0) orDie(pass)
    startContainers()
    for (const worker of workers) orDie(() => work(worker))
    if (second % 2 === 0) for (const worker of workers) orDie(() => beat(worker))
    if (second % 600 === 0) forget()
    result.mostPastHello = Math.max(result.mostPastHello, workers.filter((one) => one.isTold).length)
    if (options.budgetSeconds !== undefined)
      result.overspentSeconds = Math.max(
        result.overspentSeconds,
        spentToday - Math.max(options.budgetSeconds, 0),
      )
  }

  /** Done jobs, and wakes of yesterday, whom the broker forgets. */
  function forget() {
    jobs = jobs.filter(({ isDone }) => !isDone)
    for (const [id, { endedAtMs }] of wakes)
      if (endedAtMs !== undefined && nowMs - endedAtMs > 3_600_000) wakes.delete(id)
  }

  while (result.steps < steps) step()
  isCalm = true
  throttledUntilMs = 0
  providerAwayUntilMs = 0
  const untilRenewed = options.budgetSeconds === undefined ? 0 : (dayMs - (nowMs % dayMs)) / 1000
  for (let left = untilRenewed + 7_200; left > 0; left--) {
    step()
    // What a day's budget does not pay is done on the next: here the days are as short as they must be.
    if (isOverBudget() && workers.length === 0) spentToday = 0
  }
  result.stuck = jobs.filter(({ isDone }) => !isDone).length
  return result
}

function heldJob(remainingSeconds: number): Beat['jobs'][number] {
  return {
    ...{ jobId: '0b2f7a51-3f6c-4e0a-9d5e-6f1c2b3a4d01', owner: 'o_000000000001', epoch: 1 },
    ...{ stage: 'rendering', percent: 10, renderedForSeconds: 1, deadlineSeconds: 600 },
    remainingSeconds,
  }
}

function mulberry32(seed: number) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
