import { type AnyEvent, isTerminal, type JobRecord } from '@avatar/contracts'

/** Something to publish because the job is in its state. */
export type Output =
  | { kind: 'event'; event: AnyEvent }
  | { kind: 'gpu-entry' }
  | { kind: 'no-gpu-entry' }
  | { kind: 'deletion-timer'; atMs: number }
  | { kind: 'stop'; workerId: string; epoch: number }
  | { kind: 'notification' }

/**
 * Everything the state of a record calls for. It is published after every handled event, also when
 * the event changed nothing: so each handler may run twice, and a crash between the write and the
 * publish heals itself.
 */
export function outputsOf(job: JobRecord, revision: number): Output[] {
  const fact = { jobId: job.jobId, owner: job.owner, epoch: job.epoch, revision }
  switch (job.state) {
    case 'queued': {
      const atMs = job.queuedAtMs ?? job.createdAtMs
      return [
        { kind: 'gpu-entry' },
        { kind: 'event', event: { type: 'job.queued', ...fact, atMs } },
      ]
    }
    case 'rendering': {
      const atMs = job.startedAtMs ?? job.createdAtMs
      return [{ kind: 'event', event: { type: 'job.started', ...fact, atMs } }]
    }
    case 'cancelling':
      return stopOrder(job)
    case 'completed':
    case 'failed':
    case 'cancelled':
      return terminalOutputs(job, fact)
    default:
      return []
  }
}

function terminalOutputs(
  job: JobRecord,
  fact: { jobId: string; owner: string; epoch: number; revision: number },
): Output[] {
  const atMs = job.finishedAtMs ?? job.createdAtMs
  const event = terminalEvent(job, { ...fact, atMs })
  return [
    ...(job.deletedAtMs === undefined
      ? [{ kind: 'deletion-timer', atMs: job.expiresAtMs ?? atMs } as const]
      : []),
    ...(event ? [{ kind: 'event', event } as const] : []),
    ...(job.door === 'event' ? [{ kind: 'notification' } as const] : []),
    { kind: 'no-gpu-entry' },
    ...stopOrder(job),
  ]
}

function terminalEvent(
  job: JobRecord,
  fact: { jobId: string; owner: string; epoch: number; revision: number; atMs: number },
): AnyEvent | undefined {
  if (!isTerminal(job)) return undefined
  if (job.result) return { type: 'job.completed', ...fact, result: job.result }
  if (job.error) return { type: 'job.failed', ...fact, error: job.error }
  return { type: 'job.cancelled', ...fact }
}

/** Also after a smooth end: a worker that still holds the job is a zombie, or learns it may forget. */
function stopOrder(job: JobRecord): Output[] {
  return job.worker ? [{ kind: 'stop', workerId: job.worker.id, epoch: job.epoch }] : []
}
