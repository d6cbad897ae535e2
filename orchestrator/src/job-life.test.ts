import {
  type FailureCode,
  hasOpenAttempt,
  isTerminal,
  type JobRecord,
  type JobState,
  outputKey,
  scaledTimings,
} from '@avatar/contracts'
import { aJob, aRender } from '@avatar/contracts/testing'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Answer, decide, type Message } from './decide.ts'
import { outputsOf } from './outputs.ts'

const timings = scaledTimings(1)
const minute = 60_000

/** Long enough for a job to meet its end by deaths; short enough to be read when it fails. */
const stepsOfOneLife = 300
const lives = Number(process.env['JOB_LIFE_RUNS'] || 250)
const leastSteps = 20_000

const owners = new Map([
  ['0b2f7a51-3f6c-4e0a-9d5e-6f1c2b3a4d01', 'o_000000000001'],
  ['0b2f7a51-3f6c-4e0a-9d5e-6f1c2b3a4d02', 'o_000000000002'],
])

type Attempt = { jobId: string; epoch: number }
type Held = Attempt & { stage: 'fetching' | 'rendering' | 'spooled' | 'reported' }
type Worker = { id: string; incarnation: number; held: Held[] }
/** A stored event that its reader has not acknowledged: it comes again and again, in any order. */
type Pending = Attempt & { message: Message }

/** What goes well, as often as it takes for jobs to get far; then everything that may go wrong. */
const ways = [
  ...repeated('handle', 8),
  ...repeated('pull and claim', 3),
  ...repeated('work on', 12),
  'handle, and crash after the write',
  'handle, and crash among the outputs',
  'handle, and lose the acknowledgement',
  'pull and claim, and lose the answer',
  'die',
  'fail',
  'release',
  'declare a living attempt lost',
  'lose what was stored',
  'hear a stop',
  'lose a stop',
  'beat',
  'watch',
  'reconcile',
  'hand the entry on',
  'cancel',
  'submit again',
  'delete',
  'let time pass',
] as const
type Step = { way: (typeof ways)[number]; which: number; among: number }

/**
 * Two jobs, two workers, the queue, the store and the broker's promise (every stored event is
 * delivered at least once, in no order), around the real `decide` and `outputsOf`.
 */
class Life {
  nowMs = 1_700_000_000_000
  readonly jobs = new Map<string, JobRecord>()
  readonly workers: Worker[] = ['w1', 'w2'].map((id) => ({ id, incarnation: 1, held: [] }))
  readonly entries = new Map<string, Worker | undefined>()
  readonly facts = new Map<string, Set<string>>()
  readonly timers = new Set<string>()
  readonly objects = new Set<string>()
  pending: Pending[] = []
  stops: (Attempt & { workerId: string })[] = []
  /** What really befell each job: nothing else may cost it an attempt. */
  readonly faults = new Map<string, { lost: number; failed: number; given: number }>()

  /** Of so many steps of work only one succeeds: some jobs shall meet many faults. */
  readonly #hardship: number
  /** A job that no worker can render, and that kills some. */
  readonly #poison: string | undefined

  constructor({ hardship, hasPoison }: { hardship: number; hasPoison: boolean }) {
    this.#hardship = hardship
    this.#poison = hasPoison ? [...owners.keys()][0] : undefined
    for (const [jobId, owner] of owners) {
      this.jobs.set(jobId, aJob({ jobId, owner, state: 'pending' }))
      this.facts.set(jobId, new Set())
      this.faults.set(jobId, { lost: 0, failed: 0, given: 0 })
      this.store({ kind: 'submitted' }, jobId)
    }
  }

  take({ way, which, among }: Step) {
    this.nowMs += 1_000
    const worker = at(this.workers, which)
    const held = worker && at(worker.held, among)
    const event = at(this.pending, which)
    const job = at([...this.jobs.values()], which)
    switch (way) {
      case 'handle':
        if (event && this.handle(event, { isStoreAway: among % 2 === 1 }))
          this.pending = this.pending.filter((p) => p !== event)
        break
      case 'handle, and crash after the write':
        if (event) this.handle(event, { outputs: 0 })
        break
      case 'handle, and crash among the outputs':
        if (event) this.handle(event, { outputs: among % 4 })
        break
      case 'handle, and lose the acknowledgement':
        if (event) this.handle(event)
        break
      case 'pull and claim':
      case 'pull and claim, and lose the answer':
        if (worker) this.claim(worker, among, way !== 'pull and claim')
        break
      case 'work on':
        if (worker && held && among % this.#hardship === 0) this.workOn(worker, held)
        break
      case 'die':
        if (worker) this.die(worker)
        break
      case 'fail':
        if (worker && held && held.stage !== 'reported') this.fail(worker, held)
        break
      case 'release':
        if (worker && held && held.stage !== 'reported') this.giveBack(worker, held, 'released')
        break
      case 'declare a living attempt lost':
        if (held && this.isOpen(held)) this.lose(held)
        break
      case 'lose what was stored':
        if (job) this.loseStored(job)
        break
      case 'hear a stop':
        this.hearStop(which)
        break
      case 'lose a stop':
        this.stops.splice(which % Math.max(1, this.stops.length), 1)
        break
      case 'beat':
        if (worker) this.beat(worker)
        break
      case 'watch':
        this.watch()
        break
      case 'reconcile':
        this.reconcile()
        break
      case 'hand the entry on':
        if (job && this.entries.has(job.jobId)) this.entries.set(job.jobId, undefined)
        break
      case 'cancel':
        // Not in every life: most are to end in a video.
        if (job && among === 0) this.cancel(job)
        break
      case 'submit again':
        if (job) this.store({ kind: 'submitted' }, job.jobId)
        break
      case 'delete':
        if (job && this.timers.has(job.jobId)) this.store({ kind: 'deleted' }, job.jobId)
        break
      case 'let time pass':
        this.nowMs += among * 1_000
    }
  }

  /** No more faults: everything that is repeated for ever in the real system, until it is quiet. */
  settle() {
    for (let round = 0; round < 400 && !this.isQuiet(); round++) {
      this.nowMs += minute
      for (const event of this.pending.splice(0)) this.handle(event)
      this.stops = []
      for (const worker of this.workers) {
        this.beat(worker)
        while (this.stops.length > 0) this.hearStop(0)
        for (const held of [...worker.held]) this.workOn(worker, held)
        if (worker.held.length === 0) this.claim(worker, round, false)
      }
      this.watch()
      this.reconcile()
      for (const jobId of this.entries.keys())
        if (!this.workers.some(({ held }) => held.some((each) => each.jobId === jobId)))
          this.entries.set(jobId, undefined)
    }
  }

  isQuiet(): boolean {
    const allEnded = [...this.jobs.values()].every(isTerminal)
    const nothingHeld = this.workers.every(({ held }) => held.length === 0)
    return allEnded && nothingHeld && this.pending.length === 0 && this.entries.size === 0
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
    expectLegalChange(before, job, message)
    this.jobs.set(jobId, job)
    return answer
  }

  /** As the handlers do it, until the store does not answer or a crash after so many outputs. */
  private handle(
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
        case 'gpu-entry':
          if (!this.entries.has(jobId)) this.entries.set(jobId, undefined)
          break
        case 'no-gpu-entry':
          this.entries.delete(jobId)
          break
        case 'deletion-timer':
          this.timers.add(jobId)
          break
        case 'stop':
          this.stops.push({ jobId, epoch: output.epoch, workerId: output.workerId })
      }
    return true
  }

  private claim(worker: Worker, which: number, isAnswerLost: boolean) {
    const free = [...this.entries].filter(([, holder]) => !holder).map(([jobId]) => jobId)
    const jobId = at(free, which)
    if (jobId === undefined || worker.held.some((held) => held.jobId === jobId)) return
    const answer = this.apply(jobId, {
      kind: 'claim',
      workerId: worker.id,
      incarnation: String(worker.incarnation),
      secondsPerVideoSecond: 1,
    })
    if (answer?.answer === 'drop') this.entries.delete(jobId)
    if (answer?.answer !== 'render') return
    this.entries.set(jobId, worker)
    const { epoch } = get(this.jobs, jobId)
    if (isAnswerLost) get(this.faults, jobId).lost++
    else worker.held.push({ jobId, epoch, stage: 'fetching' })
  }

  private workOn(worker: Worker, held: Held) {
    const { jobId, epoch } = held
    if (held.stage === 'fetching') {
      held.stage = 'rendering'
      this.store({ kind: 'started', epoch }, jobId, epoch)
    } else if (held.stage === 'rendering') {
      if (jobId === this.#poison) this.fail(worker, held)
      else held.stage = 'spooled'
    } else {
      const answer = this.apply(jobId, { kind: 'store', epoch })?.answer
      if (answer === 'drop') this.entries.delete(jobId)
      if (answer === 'stop') this.store({ kind: 'cancelled', epoch }, jobId, epoch)
      if (answer !== 'grant') return this.forget(worker, held)
      if (held.stage === 'reported') return
      const rendered = aRender({ key: outputKey(jobId, epoch) })
      this.objects.add(rendered.key)
      this.store({ kind: 'completed', epoch, rendered }, jobId, epoch)
      held.stage = 'reported'
      this.entries.delete(jobId)
    }
  }

  /** What is spooled survives; the rest is lost, and the beat of the next life does not name it. */
  private die(worker: Worker) {
    worker.incarnation++
    for (const held of [...worker.held]) {
      if (held.stage === 'spooled' || held.stage === 'reported') continue
      get(this.faults, held.jobId).lost++
      this.forget(worker, held)
    }
  }

  private fail(worker: Worker, held: Held) {
    const { jobId, epoch } = held
    const code: FailureCode = epoch % 2 === 0 ? 'RENDER_PROCESS_DIED' : 'RENDER_FAILED'
    const faults = get(this.faults, jobId)
    if (code === 'RENDER_FAILED') faults.failed++
    else faults.lost++
    this.store({ kind: 'failed', epoch, code }, jobId, epoch)
    this.forget(worker, held)
  }

  private giveBack(worker: Worker, held: Held, kind: 'released' | 'cancelled') {
    if (kind === 'released') get(this.faults, held.jobId).given++
    this.store({ kind, epoch: held.epoch }, held.jobId, held.epoch)
    this.forget(worker, held)
  }

  /** Before it is verified; what happens to a finished video is another story. */
  private loseStored({ jobId, epoch, state }: JobRecord) {
    if (state === 'completed' || !this.objects.delete(outputKey(jobId, epoch))) return
    get(this.faults, jobId).failed++
  }

  private lose({ jobId, epoch }: Attempt) {
    get(this.faults, jobId).lost++
    this.store({ kind: 'attempt-lost', epoch }, jobId, epoch)
  }

  private hearStop(which: number) {
    const stop = at(this.stops, which)
    if (!stop) return
    this.stops.splice(this.stops.indexOf(stop), 1)
    const worker = this.workers.find(({ id }) => id === stop.workerId)
    const held = worker?.held.find((h) => h.jobId === stop.jobId && h.epoch === stop.epoch)
    if (!worker || !held) return
    if (held.stage === 'reported') this.forget(worker, held)
    else this.giveBack(worker, held, 'cancelled')
  }

  /** Answered by a stop for everything that is not, or no longer, wanted. */
  private beat(worker: Worker) {
    for (const { jobId, epoch } of worker.held)
      if (!this.isOpen({ jobId, epoch }) || get(this.jobs, jobId).state === 'cancelling')
        this.stops.push({ jobId, epoch, workerId: worker.id })
  }

  private watch() {
    for (const { jobId, epoch, uploaded, ...job } of this.jobs.values()) {
      const isHeld = this.workers.some(({ held }) =>
        held.some((each) => each.jobId === jobId && each.epoch === epoch),
      )
      if (hasOpenAttempt({ ...job, jobId, epoch }) && !uploaded && !isHeld)
        this.store({ kind: 'attempt-lost', epoch }, jobId, epoch)
    }
  }

  private reconcile() {
    for (const { jobId, state } of this.jobs.values()) {
      if (state === 'pending') this.store({ kind: 'submitted' }, jobId)
      if (state === 'queued' && !this.entries.has(jobId)) this.entries.set(jobId, undefined)
    }
  }

  private cancel({ jobId }: JobRecord) {
    if (this.apply(jobId, { kind: 'cancel' })?.answer === 'cancelling')
      this.store({ kind: 'cancel-requested' }, jobId)
  }

  /** The broker knows the id of what it still holds; of what is done with, it may have forgotten it. */
  private store(message: Message, jobId: string, epoch = 0) {
    const isKnown = this.pending.some(
      (p) => p.jobId === jobId && p.epoch === epoch && p.message.kind === message.kind,
    )
    if (!isKnown) this.pending.push({ jobId, epoch, message })
  }

  private forget(worker: Worker, held: Held) {
    worker.held = worker.held.filter((each) => each !== held)
  }

  private isOpen({ jobId, epoch }: Attempt): boolean {
    const job = get(this.jobs, jobId)
    return hasOpenAttempt(job) && job.epoch === epoch
  }
}

const order: readonly JobState[] = ['claimed', 'rendering', 'storing', 'cancelling']

/** I4, I6, I7, and what an epoch may do: checked at every single write. */
function expectLegalChange(before: JobRecord, after: JobRecord, { kind }: Message) {
  for (const fixed of ['jobId', 'owner', 'fingerprint', 'nonce', 'image', 'audio'] as const)
    expect(after[fixed]).toEqual(before[fixed])
  if (isTerminal(before)) expect(after).toEqual({ ...before, deletedAtMs: after.deletedAtMs })
  expect(after.epoch - before.epoch).toBe(kind === 'claim' ? 1 : 0)
  if (before.state !== 'pending') expect(after.state).not.toBe('pending')
  if (hasOpenAttempt(before) && hasOpenAttempt(after))
    expect(order.indexOf(after.state)).toBeGreaterThanOrEqual(order.indexOf(before.state))
  if (before.uploaded && hasOpenAttempt(after)) expect(after.uploaded).toEqual(before.uploaded)
  if (before.uploaded && after.state === 'queued') expect(kind).toBe('refused')
  if (after.state === 'queued')
    expect([after.uploaded, after.worker]).toEqual([undefined, undefined])
  if (after.state === 'completed') expect(after.result).toEqual(before.uploaded)
}

/** I2, I3, I5: checked after every step. */
function expectHonest(life: Life) {
  for (const job of life.jobs.values()) {
    const { jobId, state, result, failures, deaths, losses, epoch } = job
    const told = [...get(life.facts, jobId)]
    if (told.length > 0) expect(told).toEqual([`job.${state}`])
    if (result) expect(result.key).toBe(outputKey(jobId, epoch))
    if (result) expect(life.objects.has(result.key)).toBe(true)
    const { lost, failed, given } = get(life.faults, jobId)
    expect(epoch).toBeLessThanOrEqual(1 + lost + failed + given)
    expect(failures).toBeLessThanOrEqual(failed)
    // The watch may overtake the event by which a worker gave the attempt up.
    expect(deaths + losses).toBeLessThanOrEqual(lost + failed + given)
    if (state === 'failed') expect([failures >= 3, deaths >= 6, losses >= 12]).toContain(true)
  }
}

test('every job ends once, whatever is lost, repeated, out of order or killed', () => {
  const step: fc.Arbitrary<Step> = fc.record({
    way: fc.constantFrom(...ways),
    which: fc.nat(31),
    among: fc.nat(31),
  })
  const ends = new Set<JobState>()
  let steps = 0
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 1, maxLength: stepsOfOneLife, size: 'max' }),
      fc.record({ hardship: fc.constantFrom(1, 2, 32), hasPoison: fc.boolean() }),
      (taken, kind) => {
        const life = new Life(kind)
        for (const each of taken) {
          life.take(each)
          expectHonest(life)
        }
        steps += taken.length
        life.settle()
        expectHonest(life)
        expect(life.isQuiet()).toBe(true)
        for (const { jobId, state } of life.jobs.values()) {
          expect([...get(life.facts, jobId)]).toEqual([`job.${state}`])
          expect(life.timers.has(jobId)).toBe(true)
          ends.add(state)
        }
      },
    ),
    { numRuns: lives },
  )
  expect(steps).toBeGreaterThanOrEqual(leastSteps)
  // Neither so many faults nor so few that one kind of end is never seen.
  expect([...ends].sort()).toEqual(['cancelled', 'completed', 'failed'])
})

function repeated<T>(value: T, times: number): T[] {
  return Array.from({ length: times }, () => value)
}

function at<T>(list: readonly T[], which: number): T | undefined {
  return list[which % Math.max(1, list.length)]
}

function get<V>(map: ReadonlyMap<string, V>, key: string): V {
  const value = map.get(key)
  if (value === undefined) throw new Error(`no ${key}`)
  return value
}
