import {
  type FailureCode,
  hasOpenAttempt,
  isTerminal,
  type JobPosting,
  type JobRecord,
  outputKey,
  scaledTimings,
} from '@avatar/contracts'
import { aJob, aRender } from '@avatar/contracts/testing'
import { outputsOf } from '../src/outputs/outputs.ts'
import { type Answer, decide, type Message } from '../src/states/decide.ts'

const timings = scaledTimings(1)
const minute = 60_000

const owners = new Map([
  ['0b2f7a51-3f6c-4e0a-9d5e-6f1c2b3a4d01', 'o_000000000001'],
  ['0b2f7a51-3f6c-4e0a-9d5e-6f1c2b3a4d02', 'o_000000000002'],
])

type Attempt = { jobId: string; epoch: number }
export type Held = Attempt & { stage: 'fetching' | 'rendering' | 'spooled' | 'reported' }
export type Worker = { id: string; incarnation: number; held: Held[] }
/** A stored event that is not acknowledged: it is redelivered again and again, in any order. */
type Pending = Attempt & { message: Message }

export type Kind = { hardship: number; hasPoison: boolean }
/** Called at every write of a record. */
type OnChange = (before: JobRecord, after: JobRecord, message: Message) => void

/**
 * Two jobs, two workers, the store, and what the broker guarantees (every stored event is
 * delivered at least once, in any order), around the real `decide` and `outputsOf`.
 */
export class Life {
  nowMs = 1_700_000_000_000
  readonly jobs = new Map<string, JobRecord>()
  readonly workers: Worker[] = ['w1', 'w2'].map((id) => ({ id, incarnation: 1, held: [] }))
  /** The asks without an answer so far: a worker keeps the name of one until it has brought a job. */
  readonly asks = new Map<Worker, string>()
  readonly facts = new Map<string, Set<string>>()
  readonly timers = new Set<string>()
  readonly postings = new Map<string, JobPosting>()
  readonly objects = new Set<string>()
  pending: Pending[] = []
  stops: (Attempt & { workerId: string })[] = []
  /** What really happened to each job: nothing else may cost it an attempt. */
  readonly faults = new Map<string, { lost: number; failed: number; given: number }>()

  /** Only one of this many steps of work succeeds, so that some jobs meet many faults. */
  readonly hardship: number
  /** A job that no worker can render, and that kills some of them. */
  readonly #poison: string | undefined

  #asked = 0
  readonly #onChange: OnChange

  constructor({ hardship, hasPoison }: Kind, onChange: OnChange) {
    this.#onChange = onChange
    this.hardship = hardship
    this.#poison = hasPoison ? [...owners.keys()][0] : undefined
    for (const [jobId, owner] of owners) {
      this.jobs.set(jobId, aJob({ jobId, owner, state: 'pending' }))
      this.facts.set(jobId, new Set())
      this.faults.set(jobId, { lost: 0, failed: 0, given: 0 })
      this.store({ kind: 'submitted' }, jobId)
    }
  }

  /** Repeats, without further faults, what the real system repeats for ever, until everything is quiet. */
  settle() {
    for (let round = 0; round < 400 && !this.isQuiet(); round++) {
      this.nowMs += minute
      for (const event of this.pending.splice(0)) this.handle(event)
      this.stops = []
      for (const worker of this.workers) {
        this.sendHeartbeat(worker)
        while (this.stops.length > 0) this.receiveStop(0)
        for (const held of [...worker.held]) this.workOn(worker, held)
        if (worker.held.length === 0) this.claim(worker, round, false)
      }
      this.watch()
      this.reconcile()
    }
  }

  isQuiet(): boolean {
    const allEnded = [...this.jobs.values()].every(isTerminal)
    const nothingHeld = this.workers.every(({ held }) => held.length === 0)
    return allEnded && nothingHeld && this.pending.length === 0
  }

  private apply(jobId: string, message: Message): Answer | undefined {
    const before = get(this.jobs, jobId)
    const { job, answer } = decide(before, message, {
      nowMs: this.nowMs,
      retentionMs: 6 * 60 * minute,
      minDeadlineSeconds: 600,
      timings,
    })
    if (!job) return answer
    this.#onChange(before, job, message)
    this.jobs.set(jobId, job)
    return answer
  }

  /** Does what the handlers do, until the store is unavailable or a crash comes after some outputs. */
  handle(
    { jobId, epoch, message }: Pending,
    { outputs = Infinity, isStoreAway = false } = {},
  ): boolean {
    this.apply(jobId, message)
    const { uploaded, ...noted } = get(this.jobs, jobId)
    if (message.kind === 'completed' && hasOpenAttempt(noted) && noted.epoch === epoch) {
      if (outputs === 0 || isStoreAway) return false
      const isThere = uploaded !== undefined && this.objects.has(uploaded.key)
      if (uploaded) this.apply(jobId, { kind: isThere ? 'verified' : 'refused', epoch })
    }
    const job = get(this.jobs, jobId)
    for (const output of outputsOf(job, 1).slice(0, outputs))
      switch (output.kind) {
        case 'event':
          if (isTerminal(job)) get(this.facts, jobId).add(output.event.type)
          break
        case 'posting':
          // The first of its subject stays.
          if (!this.postings.has(jobId)) this.postings.set(jobId, output.posting)
          break
        case 'deletion-timer':
          this.timers.add(jobId)
          break
        case 'stop':
          this.stops.push({ jobId, epoch: output.epoch, workerId: output.workerId })
      }
    return true
  }

  /**
   * What the dispatcher does with an ask: the job claimed under its name, or any that may start. The
   * order among those has tests of its own.
   */
  claim(worker: Worker, which: number, isAnswerLost: boolean) {
    const ask = this.asks.get(worker) ?? `${worker.id}-${++this.#asked}`
    this.asks.set(worker, ask)
    const jobs = [...this.jobs.values()]
    const again = jobs.find((job) => job.state === 'claimed' && job.worker?.ask === ask)
    const job =
      again ??
      at(
        jobs.filter(({ state }) => state === 'queued'),
        which,
      )
    if (!job) return
    const { jobId } = job
    const answer = this.apply(jobId, {
      ...{ kind: 'claim', workerId: worker.id, incarnation: String(worker.incarnation), ask },
      ...{ pool: 'l40s', priceMicros: 530, turn: { start: 0, seconds: 8 } },
      estimatedSeconds: 4,
    })
    if (answer?.answer !== 'render') return
    // It gets the same answer again, unless the watch or its death comes first.
    if (isAnswerLost && !again) get(this.faults, jobId).lost++
    if (isAnswerLost) return
    this.asks.delete(worker)
    const { epoch } = get(this.jobs, jobId)
    worker.held.push({ jobId, epoch, stage: 'fetching' })
  }

  workOn(worker: Worker, held: Held) {
    const { jobId, epoch } = held
    if (held.stage === 'fetching') {
      held.stage = 'rendering'
      this.store({ kind: 'started', epoch }, jobId, epoch)
    } else if (held.stage === 'rendering') {
      if (jobId === this.#poison) this.fail(worker, held)
      else held.stage = 'spooled'
    } else {
      const answer = this.apply(jobId, { kind: 'store', epoch })?.answer
      if (answer === 'stop') this.store({ kind: 'cancelled', epoch }, jobId, epoch)
      if (answer !== 'grant') return this.forget(worker, held)
      if (held.stage === 'reported') return
      const rendered = aRender({ key: outputKey(jobId, epoch) })
      this.objects.add(rendered.key)
      this.store({ kind: 'completed', epoch, rendered }, jobId, epoch)
      held.stage = 'reported'
    }
  }

  /** What is spooled survives. The rest is lost, and the restarted worker's heartbeat does not name it. */
  die(worker: Worker) {
    worker.incarnation++
    this.asks.delete(worker)
    for (const held of [...worker.held]) {
      if (held.stage === 'spooled' || held.stage === 'reported') continue
      get(this.faults, held.jobId).lost++
      this.forget(worker, held)
    }
  }

  fail(worker: Worker, held: Held) {
    const { jobId, epoch } = held
    const code: FailureCode = epoch % 2 === 0 ? 'RENDER_PROCESS_DIED' : 'RENDER_FAILED'
    const faults = get(this.faults, jobId)
    if (code === 'RENDER_FAILED') faults.failed++
    else faults.lost++
    this.store({ kind: 'failed', epoch, code, message: 'boom' }, jobId, epoch)
    this.forget(worker, held)
  }

  giveBack(worker: Worker, held: Held, kind: 'released' | 'cancelled') {
    if (kind === 'released') get(this.faults, held.jobId).given++
    this.store({ kind, epoch: held.epoch }, held.jobId, held.epoch)
    this.forget(worker, held)
  }

  /** Only before it is verified: a completed job does not depend on its video. */
  loseStored({ jobId, epoch, state }: JobRecord) {
    if (state === 'completed' || !this.objects.delete(outputKey(jobId, epoch))) return
    get(this.faults, jobId).failed++
  }

  lose({ jobId, epoch }: Attempt) {
    get(this.faults, jobId).lost++
    this.store({ kind: 'attempt-lost', epoch }, jobId, epoch)
  }

  receiveStop(which: number) {
    const stop = at(this.stops, which)
    if (!stop) return
    this.stops.splice(this.stops.indexOf(stop), 1)
    const worker = this.workers.find(({ id }) => id === stop.workerId)
    const held = worker?.held.find((h) => h.jobId === stop.jobId && h.epoch === stop.epoch)
    if (!worker || !held) return
    if (held.stage === 'reported') this.forget(worker, held)
    else this.giveBack(worker, held, 'cancelled')
  }

  /** Answered by a stop order for everything that the worker should not hold. */
  sendHeartbeat(worker: Worker) {
    for (const { jobId, epoch } of worker.held)
      if (!this.isOpen({ jobId, epoch }) || get(this.jobs, jobId).state === 'cancelling')
        this.stops.push({ jobId, epoch, workerId: worker.id })
  }

  watch() {
    for (const { jobId, epoch, uploaded, ...job } of this.jobs.values()) {
      const isHeld = this.workers.some(({ held }) =>
        held.some((each) => each.jobId === jobId && each.epoch === epoch),
      )
      if (hasOpenAttempt(job) && !uploaded && !isHeld)
        this.store({ kind: 'attempt-lost', epoch }, jobId, epoch)
    }
  }

  reconcile() {
    for (const { jobId, state } of this.jobs.values()) {
      if (state === 'pending') this.store({ kind: 'submitted' }, jobId)
    }
  }

  cancel({ jobId }: JobRecord) {
    if (this.apply(jobId, { kind: 'cancel' })?.answer === 'cancelling')
      this.store({ kind: 'cancel-requested' }, jobId)
  }

  /** The broker recognises the id of an event that is not acknowledged yet; others it may have forgotten. */
  store(message: Message, jobId: string, epoch = 0) {
    const isKnown = this.pending.some(
      (p) => p.jobId === jobId && p.epoch === epoch && p.message.kind === message.kind,
    )
    if (!isKnown) this.pending.push({ jobId, epoch, message })
  }

  private forget(worker: Worker, held: Held) {
    worker.held = worker.held.filter((each) => each !== held)
  }

  isOpen({ jobId, epoch }: Attempt): boolean {
    const job = get(this.jobs, jobId)
    return hasOpenAttempt(job) && job.epoch === epoch
  }
}

export function at<T>(list: readonly T[], which: number): T | undefined {
  return list[which % Math.max(1, list.length)]
}

export function get<V>(map: ReadonlyMap<string, V>, key: string): V {
  const value = map.get(key)
  if (value === undefined) throw new Error(`no ${key}`)
  return value
}
