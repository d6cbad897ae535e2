import {
  type AnyEvent,
  isTerminal,
  type JobRecord,
  jobIdOfKey,
  outputPrefix,
} from '@avatar/contracts'
import type { ToldPrompt } from './told-prompts.ts'

/** Where something of a job can lie. */
export const places = ['bucket', 'record', 'events', 'timers', 'spools'] as const
export type Place = (typeof places)[number]

/** Something that should not be there any more. */
export type Leftover = { place: Place; jobId: string | undefined; what: string }

/** What is left of jobs, wherever it may lie. */
export type Remains = {
  records: readonly JobRecord[]
  deletions: readonly Extract<AnyEvent, { type: 'job.deleted' }>[]
  objects: readonly { key: string; ageMs: number }[]
  /** The ids of the jobs whose deletion timer is stored, waiting or due. */
  timers: readonly string[]
  /** Files of services on this machine, by the name of the folder that belongs to one job or upload. */
  spooled: readonly { folder: string; jobId: string | undefined; ageMs: number }[]
  /** Messages that repeat a prompt. */
  prompts: readonly ToldPrompt[]
  /** By the broker's clock. */
  nowMs: number
}

export type Patience = {
  /** A deletion may come so long after its time. */
  graceMs: number
  /** An object or folder without a job may be so old: an admission may still be at work on it. */
  orphanAgeMs: number
  /** What a publisher has left for us may be so old: a job may still wait for it. */
  intakeAgeMs: number
}

/**
 * Everything that should be gone and is not. A job's time is over at its `expiresAtMs`, and a cancelled job's
 * at once. What may stay longer holds none of its media: its record, its events and its posting.
 */
export function whatStays(
  remains: Remains,
  { graceMs, orphanAgeMs, intakeAgeMs }: Patience,
): Leftover[] {
  const { records, deletions, objects, timers, spooled, nowMs } = remains
  const recordOf = new Map(records.map((record) => [record.jobId, record]))
  const deleted = new Set(deletions.map(({ jobId }) => jobId))
  const isPast = (job: JobRecord) =>
    isTerminal(job) && nowMs > (job.expiresAtMs ?? Infinity) + graceMs

  const inBucket = objects.flatMap(({ key, ageMs }): Leftover[] => {
    const jobId = jobIdOfKey(key)
    if (jobId === undefined)
      return key.startsWith('intake/') && ageMs > intakeAgeMs + graceMs
        ? [{ place: 'bucket', jobId, what: `${key}, which no job may need any more` }]
        : []
    const job = recordOf.get(jobId)
    const isOrphan = ageMs > orphanAgeMs + graceMs
    if (!job) return isOrphan ? [{ place: 'bucket', jobId, what: `${key}, of no job` }] : []
    if (isPast(job)) return [{ place: 'bucket', jobId, what: key }]
    const isOutput = key.startsWith(outputPrefix(jobId))
    const isGivenUp = isTerminal(job) && isOutput && key !== job.result?.key
    return isGivenUp && isOrphan
      ? [{ place: 'bucket', jobId, what: `${key}, of an attempt that was given up` }]
      : []
  })
  const past = records.filter(isPast)
  const unrecorded = past
    .filter(({ deletedAtMs }) => deletedAtMs === undefined)
    .map(({ jobId }): Leftover => ({ place: 'record', jobId, what: 'says nothing of a deletion' }))
  const untold = past
    .filter(({ jobId }) => !deleted.has(jobId))
    .map(({ jobId }): Leftover => ({ place: 'events', jobId, what: 'no event tells its deletion' }))
  const told = remains.prompts.map(
    ({ jobId, subject }): Leftover => ({
      ...{ place: 'events', jobId, what: `${subject} repeats its prompt` },
    }),
  )
  const stillTimed = timers.flatMap((jobId): Leftover[] => {
    const job = recordOf.get(jobId)
    const isOver = job ? isPast(job) : true
    return isOver ? [{ place: 'timers', jobId, what: 'its deletion timer is still stored' }] : []
  })
  const inSpools = spooled.flatMap(({ folder, jobId, ageMs }): Leftover[] => {
    const job = jobId === undefined ? undefined : recordOf.get(jobId)
    const isLeft = job ? isTerminal(job) && ageMs > graceMs : ageMs > orphanAgeMs + graceMs
    return isLeft ? [{ place: 'spools', jobId, what: folder }] : []
  })
  return [...inBucket, ...unrecorded, ...untold, ...told, ...stillTimed, ...inSpools]
}
