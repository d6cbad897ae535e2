import { costMicros, type JobRecord, limits, type Spent, type Used } from '@avatar/contracts'

/** How an attempt ended, and what is known of its GPU time. */
export type AttemptEnd = {
  end: Spent['end']
  isCharged: boolean
  /** What its worker told; undefined when nobody did. */
  used: Used | undefined
  /** Whether the worker itself measured it, at the attempt's end. */
  isMeasured: boolean
}

/** The pool of attempts whose worker did not name one: it is of an earlier version. */
const unknownPool = 'unknown'

/**
 * Books the open attempt of a job as it ends. An attempt is booked once, by its epoch; whatever comes
 * later about it changes nothing.
 */
export function booked(job: JobRecord, ended: AttemptEnd, nowMs: number): JobRecord {
  const spent = job.spent ?? []
  if (spent.some(({ epoch }) => epoch === job.epoch)) return job
  const { pool = unknownPool, priceMicros = 0 } = job.worker ?? {}
  const gpuSeconds = ended.used?.gpuSeconds ?? guessedSeconds(job, nowMs)
  const { end, isCharged } = ended
  const attempt: Spent = {
    ...{ epoch: job.epoch, pool, gpuSeconds, micros: costMicros(gpuSeconds, priceMicros) },
    ...{ end, isMeasured: ended.isMeasured && ended.used !== undefined, isCharged },
  }
  return { ...job, spent: withRoom([...spent, attempt]) }
}

/** What the attempt that ended the job used, on its turn; 0 when none ran. */
export function settledTurn(job: JobRecord, endingEpoch: number | undefined): Partial<JobRecord> {
  if (!job.turn) return {}
  const ending = job.spent?.find(({ epoch }) => epoch === endingEpoch)
  return { turn: { ...job.turn, seconds: ending?.gpuSeconds ?? 0 } }
}

/** Nobody told: the time since its first denoising step, but no more than was expected of it. */
function guessedSeconds({ startedAtMs, estimatedSeconds }: JobRecord, nowMs: number): number {
  if (startedAtMs === undefined) return 0
  return Math.min(estimatedSeconds, Math.max(0, nowMs - startedAtMs) / 1000)
}

/** The oldest attempts are added up in the first. None of them ended the job, so none is charged. */
function withRoom(attempts: readonly Spent[]): Spent[] {
  const [first, second, ...rest] = attempts
  if (!first || !second || attempts.length <= limits.attemptsBooked) return [...attempts]
  const sum = {
    ...second,
    gpuSeconds: first.gpuSeconds + second.gpuSeconds,
    micros: first.micros + second.micros,
    isMeasured: first.isMeasured && second.isMeasured,
  }
  return withRoom([sum, ...rest])
}
