import { isTerminal, type JobRecord } from '@avatar/contracts'
import type { ProgressBounds } from './progress-bounds.ts'

/** What the world looks like at one moment. */
export type Sight = {
  nowMs: number
  /** Whether no orchestrator, or not each one that runs, can do its work now. */
  isDisturbed: boolean
  /** Whether anything else is wrong now by which an attempt may last longer. */
  isWorkDisturbed: boolean
  jobs: readonly JobRecord[]
  isEndTold: (jobId: string) => boolean
  /** The workers that anybody may serve, have no job, and can be reached. */
  idleWorkers: readonly string[]
  /** The names of their asks. */
  idleAsks: ReadonlySet<string | undefined>
  /** Whether its owner may have another render at work. */
  mayStart: (job: JobRecord) => boolean
  /** How long the render of a job takes. */
  workMs: (jobId: string) => number
}

/**
 * Says what does not go on although it could: that is I1 and I2 within a time, and that no GPU waits while a
 * job does. It counts from when it first saw something, and anew from each disturbance.
 */
export class ProgressChecks {
  readonly #bounds: ProgressBounds
  readonly #complain: (what: string) => void
  readonly #since = new Map<string, number>()
  #wellSinceMs = 0
  #worksSinceMs = 0

  constructor(bounds: ProgressBounds, complain: (what: string) => void) {
    this.#bounds = bounds
    this.#complain = complain
  }

  look(sight: Sight): void {
    const { recovers } = this.#bounds
    if (sight.isDisturbed) this.#wellSinceMs = sight.nowMs + recovers
    if (sight.isDisturbed || sight.isWorkDisturbed) this.#worksSinceMs = sight.nowMs + recovers
    const seen = new Set<string>()
    const lastsMs = (what: string, wellSinceMs: number) => {
      seen.add(what)
      const sinceMs = this.#since.get(what) ?? sight.nowMs
      this.#since.set(what, sinceMs)
      return sight.nowMs - Math.max(sinceMs, wellSinceMs)
    }
    for (const job of sight.jobs) this.#lookAtState(job, sight, lastsMs)
    this.#lookAtIdle(sight, lastsMs)
    for (const what of this.#since.keys()) if (!seen.has(what)) this.#since.delete(what)
  }

  #lookAtState(job: JobRecord, sight: Sight, lastsMs: LastsMs): void {
    const { told, states } = this.#bounds
    const { jobId, state, epoch } = job
    if (isTerminal(job)) {
      if (sight.isEndTold(jobId)) return
      const ms = lastsMs(`${jobId} ends`, this.#wellSinceMs)
      if (ms > told) this.#say(`I2 ${jobId} is ${state}, and nobody is told`, ms)
      return
    }
    if (state === 'queued') return
    if (state === 'claimed' && sight.idleAsks.has(job.worker?.ask)) this.#lookAtAsk(job, lastsMs)
    const stage = job.uploaded && state === 'storing' ? 'uploaded' : state
    const ms = lastsMs(`${jobId} ${stage} ${epoch}`, this.#worksSinceMs)
    const workMs = stage === 'rendering' ? sight.workMs(jobId) : 0
    if (isBounded(stage, states) && ms > states[stage] + workMs)
      this.#say(`I1 ${jobId} stays ${stage}`, ms)
  }

  /** Its answer was lost: the worker asks again, under the same name, and has nothing to do. */
  #lookAtAsk({ jobId, epoch }: JobRecord, lastsMs: LastsMs): void {
    const ms = lastsMs(`${jobId} is asked for ${epoch}`, this.#wellSinceMs)
    if (ms > this.#bounds.handOut)
      this.#say(`${jobId} is not given to the ask that it is claimed for`, ms)
  }

  /** One worker and one job, each of which has waited for so long; others may come and go. */
  #lookAtIdle({ nowMs, jobs, idleWorkers, mayStart }: Sight, lastsMs: LastsMs): void {
    const { handOut } = this.#bounds
    const idleMs = idleWorkers.map((id) => lastsMs(`${id} is idle`, this.#wellSinceMs))
    const waitingMs = jobs
      .filter((job) => job.state === 'queued' && (job.notBeforeMs ?? 0) <= nowMs && mayStart(job))
      .map(({ jobId, epoch }) => lastsMs(`${jobId} waits ${epoch}`, this.#wellSinceMs))
    const ms = Math.min(Math.max(0, ...idleMs), Math.max(0, ...waitingMs))
    if (ms > handOut) this.#say('a worker has nothing to do while a job may start', ms)
  }

  #say(what: string, ms: number): void {
    this.#complain(`${what}, for ${Math.round(ms / 1000)} s`)
  }
}

/** For how long something has been so, without interruption, since all was well. */
type LastsMs = (what: string, wellSinceMs: number) => number

function isBounded<T extends object>(stage: string, states: T): stage is string & keyof T {
  return stage in states
}
