import { type HeldJob, hasOpenAttempt, type JobRecord } from '@avatar/contracts'

/**
 * Whether a worker should go on with the attempt that it holds. One whose end it has told is wanted until
 * that is handled: until then its name in the heartbeat keeps it from being taken for lost.
 */
export function wantsAttempt(
  job: Pick<JobRecord, 'state' | 'epoch'>,
  held: Pick<HeldJob, 'epoch' | 'stage'>,
): boolean {
  const isOpen = hasOpenAttempt(job) && job.epoch === held.epoch
  return isOpen && (job.state !== 'cancelling' || held.stage === 'ended')
}

/**
 * Whether a render is far past its deadline. A worker ends it at the deadline itself, by the same clock;
 * this catches a worker that does not.
 */
export function isOverdue(held: HeldJob, overdueAfterMs: number): boolean {
  const overdueSeconds = held.deadlineSeconds + overdueAfterMs / 1000
  return held.stage === 'rendering' && held.renderedForSeconds > overdueSeconds
}
