import type { AnyEvent, JobPosting, JobRecord, Notification } from '@avatar/contracts'
import { type Fact, factOf, plainEvent } from '@avatar/job-kit'
import { jobPosting } from './job-posting.ts'

/** Something to publish because the job is in its state. */
export type Output =
  | { kind: 'event'; event: AnyEvent }
  | { kind: 'deletion-timer'; atMs: number }
  | { kind: 'stop'; workerId: string; epoch: number }
  | { kind: 'notification'; status: Notification['status'] }
  | { kind: 'posting'; posting: JobPosting }

/**
 * Everything that the state of a record calls for. It is published after every handled event, even if
 * the event changed nothing, so a redelivery repairs a crash between the write and the publish.
 */
export function outputsOf(job: JobRecord, revision: number): Output[] {
  const since = (atMs = job.createdAtMs) => factOf(job, revision, atMs)
  switch (job.state) {
    case 'queued':
      return [{ kind: 'event', event: plainEvent('job.queued', since(job.queuedAtMs)) }]
    case 'rendering':
      return [{ kind: 'event', event: plainEvent('job.started', since(job.startedAtMs)) }]
    case 'cancelling':
      return stopOrder(job)
    case 'completed':
    case 'failed':
    case 'cancelled':
      return terminalOutputs(job, job.state, since(job.finishedAtMs))
    default:
      return []
  }
}

function terminalOutputs(job: JobRecord, status: Notification['status'], fact: Fact): Output[] {
  const outputs: Output[] = [{ kind: 'event', event: terminalEvent(job, fact) }]
  if (job.deletedAtMs === undefined)
    outputs.unshift({ kind: 'deletion-timer', atMs: job.expiresAtMs ?? fact.atMs })
  if (job.door === 'event') outputs.push({ kind: 'notification', status })
  outputs.push({ kind: 'posting', posting: jobPosting(job, fact.atMs) })
  return [...outputs, ...stopOrder(job)]
}

function terminalEvent(job: JobRecord, fact: Fact): AnyEvent {
  if (job.result) return { type: 'job.completed', ...fact, result: job.result }
  if (job.error) return { type: 'job.failed', ...fact, error: job.error }
  return { type: 'job.cancelled', ...fact }
}

/** Even after a smooth end: a worker that still holds the job is stale, or learns that it may forget it. */
function stopOrder(job: JobRecord): Output[] {
  return job.worker ? [{ kind: 'stop', workerId: job.worker.id, epoch: job.epoch }] : []
}
