import {
  isTerminal,
  type JobRecord,
  type JobState,
  jobKey,
  terminalRecordTtlMs,
} from '@avatar/contracts'
import type { JobRecords } from '@avatar/job-kit'
import type { Clock, Versioned } from '@avatar/service-kit'
import { type Answer, type Claim, decide, type Message, type Rules } from '../states/decide.ts'

/** The record after a message, the state that it was in before, and the answer to a request. */
export type Applied = Versioned<JobRecord> & {
  before: JobState
  changed: boolean
  answer: Answer | undefined
}

/**
 * `claimed`: the record is claimed under this very ask. `passed`: it is not, and `found` is what it says
 * now, if it still exists. `unawaited`: nobody waits for the answer any more, so nothing was written.
 */
export type ClaimOutcome =
  | { outcome: 'claimed'; job: JobRecord }
  | { outcome: 'passed'; found: Versioned<JobRecord> | undefined }
  | { outcome: 'unawaited' }

/** A change of state that was written, and what brought it about. */
export type Transition = { before: JobRecord; after: JobRecord; message: Message }

/** The only writer of job records after ingest created them. */
export type JobWriter = ReturnType<typeof createJobWriter>

/** Reads, decides, and writes by compare-and-set. */
export function createJobWriter(options: {
  records: JobRecords
  clock: Clock
  rules: Omit<Rules, 'nowMs'>
  /** A record as this process last knew it, which spares a read. */
  findKnown?: (jobId: string) => Versioned<JobRecord> | undefined
  /** Called after each write, before anybody is answered. */
  onWrite?: (job: JobRecord, revision: number) => void
  /** Called once for each change of state. */
  onTransition?: (transition: Transition) => void
}) {
  const { records, clock, rules } = options

  const decideNow = (job: JobRecord, message: Message) =>
    decide(job, message, { ...rules, nowMs: clock.nowMs() })

  function tell({ before, after, message }: Transition, revision: number) {
    options.onWrite?.(after, revision)
    if (after.state !== before.state) options.onTransition?.({ before, after, message })
  }

  return {
    find: (owner: string, jobId: string) => records.find(jobKey(owner, jobId)),

    /**
     * Tries until the write succeeds or there is nothing to write. It begins with the record as it is known: the
     * write is made from its revision, so one that is old costs a try.
     *
     * @returns undefined when there is no such record
     */
    async apply(owner: string, jobId: string, message: Message): Promise<Applied | undefined> {
      const key = jobKey(owner, jobId)
      for (let known = options.findKnown?.(jobId); ; known = undefined) {
        const found = known ?? (await records.find(key))
        if (!found) return undefined
        const { job, answer } = decideNow(found.value, message)
        const before = found.value.state
        // Only a write tells that what is known is still so.
        if (!job && known) continue
        if (!job) return { ...found, before, changed: false, answer }
        const ttlMs = isTerminal(job) ? terminalRecordTtlMs : undefined
        const revision = await records.update(key, job, found.revision, { ttlMs })
        if (revision === 'conflict') continue
        tell({ before: found.value, after: job, message }, revision)
        return { value: job, revision, before, changed: true, answer }
      }
    },

    /**
     * Claims a job for an ask by one write, which is never tried again: a late one would claim the job
     * for nobody. One that loses reads again, because it may have lost against itself: its reply was lost.
     *
     * @param isAwaited whether somebody still waits for the answer, looked at right before the write
     * @throws AppError BROKER_UNAVAILABLE; whether the write arrived shows when the same ask comes again
     */
    async claim(
      { owner, jobId }: Pick<JobRecord, 'owner' | 'jobId'>,
      claim: Claim,
      isAwaited: () => boolean,
    ): Promise<ClaimOutcome> {
      const key = jobKey(owner, jobId)
      const found = await records.find(key)
      if (!found) return { outcome: 'passed', found }
      const { job, answer } = decideNow(found.value, claim)
      if (answer?.answer !== 'render') return { outcome: 'passed', found }
      if (!job) return { outcome: 'claimed', job: found.value }
      if (!isAwaited()) return { outcome: 'unawaited' }
      const timeoutMs = rules.timings.claimWriteMs
      const revision = await records.update(key, job, found.revision, { timeoutMs })
      if (revision === 'conflict') return judgeAgain(found.value, claim)
      tell({ before: found.value, after: job, message: claim }, revision)
      return { outcome: 'claimed', job }
    },
  }

  async function judgeAgain(before: JobRecord, claim: Claim): Promise<ClaimOutcome> {
    const found = await records.find(jobKey(before.owner, before.jobId))
    if (!found || !isClaimedUnder(found.value, claim.ask)) return { outcome: 'passed', found }
    tell({ before, after: found.value, message: claim }, found.revision)
    return { outcome: 'claimed', job: found.value }
  }
}

/** Whether the record is claimed under this ask, and its worker has told nothing of it yet. */
export function isClaimedUnder(
  { state, worker }: Pick<JobRecord, 'state' | 'worker'>,
  ask: string,
) {
  return state === 'claimed' && worker?.ask === ask
}
