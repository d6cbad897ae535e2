import { type HeldJob, hasOpenAttempt, type JobRecord } from '@avatar/contracts'

/** Whether the record wants what a worker says it has in hand: that attempt, and its end. */
export function wantsAttempt(job: JobRecord, held: Pick<HeldJob, 'epoch'>): boolean {
  return hasOpenAttempt(job) && job.epoch === held.epoch && job.state !== 'cancelling'
}

/**
 * Whether a render goes on clearly past its deadline. The worker ends it itself at the deadline, by
 * the same clock; this is for one that does not.
 */
export function isOverdue(held: HeldJob, overdueAfterMs: number): boolean {
  const overdueSeconds = held.deadlineSeconds + overdueAfterMs / 1000
  return held.stage === 'rendering' && held.renderedForSeconds > overdueSeconds
}
