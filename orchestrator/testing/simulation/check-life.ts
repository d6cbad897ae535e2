import { isDeepStrictEqual } from 'node:util'
import {
  hasOpenAttempt,
  isTerminal,
  type JobPosting,
  type JobRecord,
  type JobState,
  limits,
  outputKey,
} from '@avatar/contracts'
import type { SimulatedStream, Stored } from './simulated-streams.ts'

const endTypes = ['job.completed', 'job.failed', 'job.cancelled']
const openOrder: readonly JobState[] = ['claimed', 'rendering', 'storing', 'cancelling']

/** What a check may ask about the world besides what the broker stores. */
export type Witness = {
  nowMs: () => number
  /** How many renders of an owner run at once at most, by its limits and by who may race for them. */
  mostRendersOf: (owner: string) => number
  hasObject: (key: string) => boolean
  /** How many events could have cost this job an attempt. */
  costsOf: (jobId: string) => number
  /** How many faults there were. */
  faults: () => number
  /** Whether anything was wrong in the last minute. */
  isCalm: () => boolean
}

/**
 * Watches everything that a simulated broker stores, and says what may never happen. The numbers are those
 * of the promises in docs/reliability.md.
 */
export class LifeChecks {
  readonly violations: string[] = []
  readonly records = new Map<string, JobRecord>()
  readonly accepted = new Set<string>()
  readonly facts = new Map<string, Set<string>>()
  readonly postings = new Map<string, JobPosting[]>()
  readonly started = new Map<string, Set<number>>()
  /** Attempts whose render was over when their job was cancelled: they occupy no GPU. */
  readonly #rendered = new Set<string>()
  readonly #witness: Witness

  constructor(witness: Witness) {
    this.#witness = witness
  }

  complain(what: string): void {
    if (this.violations.length < 20) this.violations.push(what)
  }

  onStored({ name }: SimulatedStream, { subject, text }: Stored): void {
    if (name === 'KV_job') this.#onRecord(JSON.parse(text))
    else if (name === 'LEDGER' && subject.startsWith('ledger.job.'))
      this.#onPosting(JSON.parse(text))
    else if (name === 'EVENTS') this.#onEvent(JSON.parse(text))
    else if (name === 'DLQ') this.complain(`dead letter on ${subject}: ${text.slice(0, 300)}`)
  }

  #onRecord(after: JobRecord) {
    const { jobId, state } = after
    const before = this.records.get(jobId)
    this.records.set(jobId, after)
    if (!before) return
    for (const fixed of ['owner', 'fingerprint', 'nonce', 'image', 'audio'] as const)
      if (!isDeepStrictEqual(before[fixed], after[fixed]))
        this.complain(`I6 ${jobId}: ${fixed} has changed`)
    if (isTerminal(before) && !isDeepStrictEqual(after, { ...before, ...deletionOf(after) }))
      this.complain(`I4 ${jobId} left its end: ${before.state} became ${state}`)
    const epochs = after.epoch - before.epoch
    const isClaim = before.state === 'queued' && state === 'claimed'
    if (epochs !== (isClaim ? 1 : 0))
      this.complain(`I4 ${jobId}: epoch ${before.epoch} to ${after.epoch}`)
    if (hasOpenAttempt(before) && hasOpenAttempt(after))
      if (openOrder.indexOf(state) < openOrder.indexOf(before.state))
        this.complain(`I4 ${jobId} went back from ${before.state} to ${state}`)
    if (before.state === 'storing' && state === 'cancelling')
      this.#rendered.add(`${jobId} ${after.epoch}`)
    if (before.turn && before.turn.start !== after.turn?.start)
      this.complain(`${jobId} lost its turn`)
    const { createdAtMs, queuedAtMs = createdAtMs, finishedAtMs = queuedAtMs } = after
    if (queuedAtMs < createdAtMs || finishedAtMs < queuedAtMs)
      this.complain(`I4 ${jobId}: its times go back`)
    if (state === 'completed' && before.state !== state) this.#onCompleted(after)
    if (isClaim) this.#onClaim(after)
  }

  #onCompleted({ jobId, epoch, result }: JobRecord) {
    if (result?.key !== outputKey(jobId, epoch)) this.complain(`I3 ${jobId}: another key`)
    if (!result || !this.#witness.hasObject(result.key))
      this.complain(`I3 ${jobId} is completed without its video`)
    if (this.facts.get(jobId)?.has('job.cancelled'))
      this.complain(`I2 ${jobId} is completed after it was said to be cancelled`)
  }

  #onClaim({ jobId, owner, priority, createdAtMs }: JobRecord) {
    const own = [...this.records.values()].filter((job) => job.owner === owner)
    const running = own.filter(
      (job) =>
        /^(claimed|rendering|cancelling)$/.test(job.state) &&
        !this.#rendered.has(`${job.jobId} ${job.epoch}`),
    ).length
    if (running > this.#witness.mostRendersOf(owner))
      this.complain(`${owner} renders ${running} jobs at once`)
    if (!this.#witness.isCalm()) return
    const overtaken = own.find(
      (job) =>
        job.state === 'queued' &&
        this.#witness.nowMs() - Math.max(job.queuedAtMs ?? Infinity, job.notBeforeMs ?? 0) >
          5_000 &&
        (rankOf(job.priority) < rankOf(priority) ||
          (rankOf(job.priority) === rankOf(priority) && job.createdAtMs < createdAtMs)),
    )
    if (overtaken) this.complain(`${jobId} was claimed before ${overtaken.jobId} of its owner`)
  }

  #onEvent(event: { type: string; jobId: string; epoch: number; owner: string }) {
    const { type, jobId, epoch, owner } = event
    if (type === 'render.started')
      this.started.set(jobId, (this.started.get(jobId) ?? new Set()).add(epoch))
    const record = this.records.get(jobId)
    if (record && record.owner !== owner) this.complain(`I6 ${jobId} is also said to be ${owner}'s`)
    if (!endTypes.includes(type)) return
    const known = this.facts.get(jobId) ?? new Set()
    if (known.size > 0) this.complain(`I2 ${jobId} has two ends: ${[...known]} and ${type}`)
    this.facts.set(jobId, known.add(type))
    if (record?.state !== type.slice('job.'.length))
      this.complain(`I2 ${jobId} is ${record?.state}, and its event says ${type}`)
  }

  #onPosting(posting: JobPosting) {
    const known = this.postings.get(posting.jobId) ?? []
    this.postings.set(posting.jobId, [...known, posting])
  }

  /** Looked at when everything has come to rest, or should have. */
  atTheEnd(left: { objects: readonly string[]; held: readonly string[]; pending: number }): void {
    for (const jobId of this.accepted)
      if (!this.records.has(jobId)) this.complain(`I1 ${jobId} was accepted and has no record`)
    for (const record of this.records.values()) this.#ended(record)
    for (const key of left.objects) this.complain(`I3 ${key} stays for good`)
    for (const held of left.held) this.complain(`${held} stays in the hands of a worker`)
    if (left.pending > 0) this.complain(`${left.pending} events are never acknowledged`)
  }

  #ended(record: JobRecord) {
    const { jobId, state, epoch, spent = [], deaths, losses, failures, deletedAtMs } = record
    if (!isTerminal(record)) return this.complain(`I1 ${jobId} does not end: it is ${state}`)
    if (!this.facts.get(jobId)?.has(`job.${state}`)) this.complain(`I2 no event ends ${jobId}`)
    if (deletedAtMs === undefined) this.complain(`I3 the media of ${jobId} are never deleted`)
    const costs = this.#witness.costsOf(jobId)
    const attempts = this.started.get(jobId)?.size ?? 0
    if (attempts > 1 + costs)
      this.complain(`I5 ${jobId} was rendered ${attempts} times, costs ${costs}`)
    if (deaths + failures > costs)
      this.complain(`I5 ${jobId}: ${deaths} deaths and ${failures} failures, costs ${costs}`)
    // A loss before the first denoising step costs half a minute and no GPU time. It needs a fault too, but not
    // one that the job met: a worker that left may have been given it, or two orchestrators a job each for
    // copies of one ask.
    if (losses > costs + this.#witness.faults())
      this.complain(`I5 ${jobId}: ${losses} losses, costs ${costs}`)
    if (state === 'failed' && costs === 0) this.complain(`I5 ${jobId} failed without a cause`)
    const epochs = spent.map((attempt) => attempt.epoch)
    if (
      new Set(epochs).size !== epochs.length ||
      epochs.length !== Math.min(epoch, limits.attemptsBooked)
    )
      this.complain(`${jobId} has ${epoch} attempts, and books ${epochs}`)
    const [posting, ...more] = this.postings.get(jobId) ?? []
    if (!posting || more.length > 0) this.complain(`${jobId} has ${more.length + 1} postings`)
    if (posting && !isDeepStrictEqual(posting.attempts, spent))
      this.complain(`${jobId} is posted with other attempts than it had`)
  }
}

function deletionOf({ deletedAtMs }: JobRecord): Partial<JobRecord> {
  return deletedAtMs === undefined ? {} : { deletedAtMs }
}

function rankOf(priority: JobRecord['priority']): number {
  return priority === 'high' ? 0 : 1
}
