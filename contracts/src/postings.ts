import {
  type BillPosting,
  billPostingSchema,
  type JobPosting,
  jobPostingSchema,
  type WorkerPosting,
  workerPostingSchema,
} from './ledger.ts'

/** One posting of the ledger, with the day (UTC, such as `2026-11-29`) that its subject books it on. */
export type Posting =
  | { kind: 'job'; day: string; body: JobPosting }
  | { kind: 'worker'; day: string; body: WorkerPosting }
  | { kind: 'bill'; day: string; body: BillPosting }

const subjectPattern = /^ledger\.(job|worker|bill)\.(\d{4}-\d{2})\.(\d{2})\./

/** The posting of a message of stream LEDGER; undefined when it follows no schema. */
export function findPosting(subject: string, body: unknown): Posting | undefined {
  const [, kind, month, dayOfMonth] = subjectPattern.exec(subject) ?? []
  const day = `${month}-${dayOfMonth}`
  if (kind === 'job') {
    const { data } = jobPostingSchema.safeParse(body)
    return data && { kind, day, body: data }
  }
  if (kind === 'worker') {
    const { data } = workerPostingSchema.safeParse(body)
    return data && { kind, day, body: data }
  }
  if (kind === 'bill') {
    const { data } = billPostingSchema.safeParse(body)
    return data && { kind, day, body: data }
  }
  return undefined
}

/** The day of a moment, UTC. */
export function dayOf(atMs: number): string {
  return new Date(atMs).toISOString().slice(0, 10)
}

/** The month of a day, such as `2026-11`. */
export function monthOf(day: string): string {
  return day.slice(0, 7)
}

/** The first moment of the day after this one. */
export function nextDayMs(atMs: number): number {
  return Date.parse(dayOf(atMs)) + 86_400_000
}

/** The first moment of the month after this one. */
export function nextMonthMs(atMs: number): number {
  const date = new Date(atMs)
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1)
}

/** The subjects of all postings of a month. */
export function postingsOfMonth(month: string): string {
  return `ledger.*.${month}.>`
}

/**
 * The subjects of the workers' postings in the month before: what a worker spent on the first day follows
 * from where it stood then.
 */
export function workerPostingsBefore(month: string): string {
  return `ledger.worker.${monthOf(dayOf(Date.parse(`${month}-01`) - 1))}.>`
}

/** The subjects of all postings of one owner. */
export function postingsOfOwner(owner: string): string {
  return `ledger.job.*.*.${owner}.*`
}
