import { isTerminal, type JobRecord, jobKey, terminalRecordTtlMs } from '@avatar/contracts'
import type { JobRecords } from '@avatar/job-kit'
import type { Clock, Versioned } from '@avatar/service-kit'
import { type Answer, decide, type Message, type Rules } from './decide.ts'

/** The record after a message, and what a request is told. */
export type Applied = Versioned<JobRecord> & { answer: Answer | undefined; changed: boolean }

/** The only writer of job records. */
export type JobLedger = ReturnType<typeof createJobLedger>

/** Reads, decides and writes by compare-and-set until it wins or nothing is to be written. */
export function createJobLedger(options: {
  records: JobRecords
  clock: Clock
  rules: Omit<Rules, 'nowMs'>
  onTransition?: (from: JobRecord, to: JobRecord) => void
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
        if (!job) return { ...found, answer, changed: false }
        const ttlMs = isTerminal(job) ? terminalRecordTtlMs : undefined
        const revision = await records.update(key, job, found.revision, ttlMs)
        if (revision === 'conflict') continue
        options.onTransition?.(found.value, job)
        return { value: job, revision, answer, changed: true }
      }
    },
  }
}
