import { type HeldJob, hasOpenAttempt, type JobRecord } from '@avatar/contracts'

/** Whether a worker should go on with the attempt that it holds. */
export function wantsAttempt(job: JobRecord, held: Pick<HeldJob, 'epoch'>): boolean {
  return hasOpenAttempt(job) && job.epoch === held.epoch && job.state !== 'cancelling'
}

/**
 * Whether a render is far past its deadline. A worker ends it at the deadline itself, by the same clock;
 * this catches a worker that does not.
 */
export function isOverdue(held: HeldJob, overdueAfterMs: number): boolean {
  const overdueSeconds = held.deadlineSeconds + overdueAfterMs / 1000
  return held.stage === 'rendering' && held.renderedForSeconds > overdueSeconds
}
