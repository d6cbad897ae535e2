import {
  isTerminal,
  type JobRecord,
  type JobState,
  jobKey,
  terminalRecordTtlMs,
} from '@avatar/contracts'
import type { JobRecords } from '@avatar/job-kit'
import type { Clock, Versioned } from '@avatar/service-kit'
import { type Answer, decide, type Message, type Rules } from './decide.ts'

/** The record after a message, the state that it was in before, and the answer to a request. */
export type Applied = Versioned<JobRecord> & {
  before: JobState
  changed: boolean
  answer: Answer | undefined
}

/** The only writer of job records after ingest created them. */
export type JobLedger = ReturnType<typeof createJobLedger>

/** Reads, decides, and writes by compare-and-set, until the write succeeds or there is nothing to write. */
export function createJobLedger(options: {
  records: JobRecords
  clock: Clock
  rules: Omit<Rules, 'nowMs'>
  /** Called once for each change of state. */
  onTransition?: (reached: JobState) => void
}) {
  const { records, clock, rules } = options
  return {
    find: (owner: string, jobId: string) => records.find(jobKey(owner, jobId)),

    /** Undefined when there is no such record. */
    async apply(owner: string, jobId: string, message: Message): Promise<Applied | undefined> {
      const key = jobKey(owner, jobId)
      for (;;) {
        const found = await records.find(key)
        if (!found) return undefined
        const { job, answer } = decide(found.value, message, { ...rules, nowMs: clock.nowMs() })
        const before = found.value.state
        if (!job) return { ...found, before, changed: false, answer }
        const ttlMs = isTerminal(job) ? terminalRecordTtlMs : undefined
        const revision = await records.update(key, job, found.revision, ttlMs)
        if (revision === 'conflict') continue
        if (job.state !== before) options.onTransition?.(job.state)
        return { value: job, revision, before, changed: true, answer }
      }
    },
  }
}
