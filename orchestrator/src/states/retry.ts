import {
  attemptLimits,
  type FailureCode,
  failures,
  type JobRecord,
  type Timings,
} from '@avatar/contracts'

/** What follows a failed attempt: another attempt, or the failure of the job with this code. */
export type Retry =
  | { again: true; counted: Partial<JobRecord> }
  | { again: false; code: FailureCode; counted: Partial<JobRecord> }

/**
 * After a worker reported a failure. A failure that trying again cannot help ends the job. The death of
 * a render process counts like that of its worker, because the cause may have been the machine.
 */
export function afterFailure(
  job: JobRecord,
  code: FailureCode,
  nowMs: number,
  timings: Timings,
): Retry {
  if (failures[code].outcome === 'reject') return { again: false, code, counted: {} }
  if (code === 'RENDER_PROCESS_DIED') return afterDeath(job, code, nowMs, timings)
  const counted = { failures: job.failures + 1 }
  if (counted.failures >= attemptLimits.failures) return { again: false, code, counted }
  return { again: true, counted }
}

/** After an attempt was lost: a cheap loss before the first denoising step, a death after it. */
export function afterLoss(job: JobRecord, nowMs: number, timings: Timings): Retry {
  if (job.state !== 'claimed') return afterDeath(job, 'WORKER_LOST', nowMs, timings)
  const counted = { losses: job.losses + 1 }
  if (counted.losses >= attemptLimits.losses) return { again: false, code: 'WORKER_LOST', counted }
  return { again: true, counted }
}

function afterDeath(job: JobRecord, code: FailureCode, nowMs: number, timings: Timings): Retry {
  const deaths = job.deaths + 1
  if (deaths >= attemptLimits.deaths) return { again: false, code, counted: { deaths } }
  const delayMs = Math.min(timings.deathBackoffMaxMs, timings.deathBackoffMs * 2 ** (deaths - 1))
  return { again: true, counted: { deaths, notBeforeMs: Math.round(nowMs + delayMs) } }
}
