import type { JobState } from './job.ts'

/** Everything that can reach a job's record: the events, the storage stage's findings, the requests. */
export const jobMessages = [
  'submitted',
  'claim',
  'started',
  'store',
  'completed',
  'verified',
  'refused',
  'failed',
  'released',
  'cancelled',
  'attempt-lost',
  'overdue',
  'cancel',
  'cancel-requested',
  'queue-timeout',
  'deleted',
] as const
export type JobMessage = (typeof jobMessages)[number]

/** Messages that speak for an attempt: they count only under the record's epoch while it is open. */
export const attemptMessages: ReadonlySet<JobMessage> = new Set([
  'started',
  'store',
  'completed',
  'verified',
  'refused',
  'failed',
  'released',
  'cancelled',
  'attempt-lost',
  'overdue',
])

/** What each state means to a client, and the outputs that every handled event publishes again. */
export const stateTable: Record<
  JobState,
  { status: string; stage: string; meaning: string; outputs: string }
> = {
  pending: {
    status: 'pending',
    stage: 'accepted',
    meaning: 'The record exists; the orchestrator has not seen it yet.',
    outputs: '`evt.job.submitted` (by ingest)',
  },
  queued: {
    status: 'pending',
    stage: 'queued or waiting_for_worker',
    meaning: 'An entry waits in the GPU queue.',
    outputs: 'GPU entry, `evt.job.queued`',
  },
  claimed: {
    status: 'processing',
    stage: 'fetching',
    meaning: 'A worker took it and fetches the inputs.',
    outputs: 'none',
  },
  rendering: {
    status: 'processing',
    stage: 'rendering',
    meaning: 'The first forward has begun.',
    outputs: '`evt.job.started`',
  },
  storing: {
    status: 'processing',
    stage: 'storing',
    meaning: 'Rendered; the video is being uploaded or verified.',
    outputs: 'none',
  },
  cancelling: {
    status: 'processing',
    stage: 'cancelling',
    meaning: 'The worker has been told to stop.',
    outputs: '`ctl.stop`',
  },
  completed: {
    status: 'completed',
    stage: 'completed',
    meaning: 'The video is stored and verified.',
    outputs: 'deletion timer, `evt.job.completed`, `notify`, purge of the GPU entry, `ctl.stop`',
  },
  failed: {
    status: 'failed',
    stage: 'failed',
    meaning: 'It ended without a video; `error` says why.',
    outputs: 'deletion timer, `evt.job.failed`, `notify`, purge of the GPU entry, `ctl.stop`',
  },
  cancelled: {
    status: 'cancelled',
    stage: 'cancelled',
    meaning: 'It was cancelled; its media go at once.',
    outputs:
      'deletion timer (now), `evt.job.cancelled`, `notify`, purge of the GPU entry, `ctl.stop`',
  },
}

/** Where a message may lead: next states, or an answer without a transition. */
export type Cell = {
  /** Every state the record may have afterwards, the unchanged one included where that can be. */
  readonly next: readonly JobState[]
  /** What a request is told. */
  readonly answers?: readonly string[]
}

const finished = (state: JobState): Record<JobMessage, Cell> => {
  const stays: Cell = { next: [state] }
  const row = Object.fromEntries(jobMessages.map((message) => [message, stays]))
  return {
    ...(row as Record<JobMessage, Cell>), // Object.fromEntries forgets the keys.
    claim: { next: [state], answers: ['drop'] },
    store: { next: [state], answers: ['drop'] },
    cancel: { next: [state], answers: ['terminal'] },
  }
}

const ignored = (state: JobState): Cell => ({ next: [state] })
const cancelling: Cell = { next: ['cancelled'] }

/**
 * The whole state machine as a table: state × message → where it may lead. `decide` is its code, a
 * test holds the two against each other. Attempt messages under another epoch change nothing in any
 * state and are answered `lost`.
 */
export const transitions: Record<JobState, Record<JobMessage, Cell>> = {
  pending: {
    ...withoutAttempt('pending'),
    submitted: { next: ['queued'] },
    claim: { next: ['pending'], answers: ['later'] },
  },
  queued: {
    ...withoutAttempt('queued'),
    claim: { next: ['claimed', 'queued'], answers: ['render', 'later'] },
  },
  claimed: {
    ...withAttempt('claimed'),
    claim: { next: ['claimed'], answers: ['render', 'later'] },
    started: { next: ['rendering'] },
  },
  rendering: {
    ...withAttempt('rendering'),
    overdue: { next: ['failed'] },
  },
  // Once the upload is noted, only its verification counts; before, the attempt may still end badly.
  storing: {
    ...withAttempt('storing'),
    verified: { next: ['completed', 'storing'] },
    refused: { next: ['queued', 'failed', 'storing'] },
    failed: { next: ['queued', 'failed', 'storing'] },
    released: { next: ['queued', 'storing'] },
    'attempt-lost': { next: ['queued', 'failed', 'storing'] },
  },
  cancelling: {
    ...withAttempt('cancelling'),
    store: { next: ['cancelling'], answers: ['stop'] },
    completed: { next: ['cancelling', 'cancelled'] },
    verified: { next: ['completed', 'cancelling'] },
    refused: { next: ['cancelled', 'cancelling'] },
    failed: cancelling,
    released: cancelling,
    cancelled: cancelling,
    'attempt-lost': cancelling,
    overdue: cancelling,
    'cancel-requested': ignored('cancelling'),
  },
  completed: finished('completed'),
  failed: finished('failed'),
  cancelled: finished('cancelled'),
}

function withoutAttempt(state: 'pending' | 'queued'): Record<JobMessage, Cell> {
  return {
    submitted: ignored(state),
    claim: ignored(state),
    started: ignored(state),
    store: { next: [state], answers: ['lost'] },
    completed: ignored(state),
    verified: ignored(state),
    refused: ignored(state),
    failed: ignored(state),
    released: ignored(state),
    cancelled: ignored(state),
    'attempt-lost': ignored(state),
    overdue: ignored(state),
    cancel: { next: [state], answers: ['cancelling'] },
    'cancel-requested': { next: ['cancelled'] },
    'queue-timeout': { next: ['failed'] },
    deleted: ignored(state),
  }
}

function withAttempt(state: 'claimed' | 'rendering' | 'storing' | 'cancelling') {
  const again: Cell = { next: ['queued', 'failed'] }
  return {
    submitted: ignored(state),
    claim: { next: [state], answers: ['later'] },
    started: ignored(state),
    store: { next: ['storing'], answers: ['grant'] },
    completed: { next: ['storing'] },
    verified: ignored(state),
    refused: ignored(state),
    failed: again,
    released: { next: ['queued'] },
    cancelled: ignored(state),
    'attempt-lost': again,
    overdue: ignored(state),
    cancel: { next: [state], answers: ['cancelling'] },
    'cancel-requested': { next: ['cancelling'] },
    'queue-timeout': ignored(state),
    deleted: ignored(state),
  } satisfies Record<JobMessage, Cell>
}
