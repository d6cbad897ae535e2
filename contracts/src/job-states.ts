import type { JobState } from './job.ts'
import { recordOf } from './services.ts'

/** Everything that can reach a job's record: events, requests, and what the storage stage found. */
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
    meaning: 'It waits until a worker asks and it is next in the fair order.',
    outputs: '`evt.job.queued`',
  },
  claimed: {
    status: 'processing',
    stage: 'fetching',
    meaning: 'A worker has claimed it and fetches the inputs.',
    outputs: 'none',
  },
  rendering: {
    status: 'processing',
    stage: 'rendering',
    meaning: 'The first denoising step has begun.',
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
    meaning: 'The worker was ordered to stop.',
    outputs: '`ctl.stop`',
  },
  completed: {
    status: 'completed',
    stage: 'completed',
    meaning: 'The video is stored and verified.',
    outputs: 'deletion timer, `evt.job.completed`, `notify`, ledger posting, `ctl.stop`',
  },
  failed: {
    status: 'failed',
    stage: 'failed',
    meaning: 'It ended without a video; `error` says why.',
    outputs: 'deletion timer, `evt.job.failed`, `notify`, ledger posting, `ctl.stop`',
  },
  cancelled: {
    status: 'cancelled',
    stage: 'cancelled',
    meaning: 'It was cancelled; its media are deleted at once.',
    outputs: 'deletion timer (now), `evt.job.cancelled`, `notify`, ledger posting, `ctl.stop`',
  },
}

/** What a message may do to a record in one state. */
type Cell = {
  /** Every state that the record may have afterwards, including the present one where it may stay. */
  readonly next: readonly JobState[]
  /** The field that the record may gain without a change of state. */
  readonly notes?: 'uploaded' | 'deletedAtMs'
  /** What the sender of a request is answered. */
  readonly answers?: readonly string[]
}
type Row = Readonly<Record<JobMessage, Cell>>

const cancelled: Cell = { next: ['cancelled'] }

/**
 * The whole state machine as a table: state × message → what may follow. A message about an attempt
 * changes nothing under another epoch than the record's.
 *
 * It stands in the contracts because it is what the other services may rely on when they read a record.
 * The orchestrator's `decide` implements it, and a test compares the two.
 */
export const transitions: Readonly<Record<JobState, Row>> = {
  pending: {
    ...withoutAttempt('pending'),
    submitted: { next: ['queued'] },
    claim: { next: ['pending'], answers: ['none'] },
  },
  queued: {
    ...withoutAttempt('queued'),
    claim: { next: ['claimed', 'queued'], answers: ['render', 'none'] },
  },
  claimed: {
    ...withAttempt('claimed'),
    claim: { next: ['claimed'], answers: ['render', 'none'] },
    started: { next: ['rendering'] },
    overdue: { next: ['failed'] },
  },
  rendering: {
    ...withAttempt('rendering'),
    overdue: { next: ['failed'] },
  },
  // Once the upload is noted, only its verification counts. Until then the attempt may still fail.
  storing: {
    ...withAttempt('storing'),
    completed: { next: ['storing'], notes: 'uploaded' },
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
    failed: cancelled,
    released: cancelled,
    cancelled,
    'attempt-lost': cancelled,
    overdue: cancelled,
    'cancel-requested': { next: ['cancelling'] },
  },
  completed: terminal('completed'),
  failed: terminal('failed'),
  cancelled: terminal('cancelled'),
}

function unchanged(state: JobState): Row {
  return recordOf(jobMessages, () => ({ next: [state] }))
}

function terminal(state: JobState): Row {
  return {
    ...unchanged(state),
    claim: { next: [state], answers: ['none'] },
    store: { next: [state], answers: ['drop'] },
    cancel: { next: [state], answers: ['terminal'] },
    deleted: { next: [state], notes: 'deletedAtMs' },
  }
}

function withoutAttempt(state: JobState): Row {
  return {
    ...unchanged(state),
    store: { next: [state], answers: ['lost'] },
    cancel: { next: [state], answers: ['cancelling'] },
    'cancel-requested': { next: ['cancelled'] },
    'queue-timeout': { next: ['failed'] },
  }
}

function withAttempt(state: JobState): Row {
  const again: Cell = { next: ['queued', 'failed'] }
  return {
    ...unchanged(state),
    claim: { next: [state], answers: ['none'] },
    store: { next: ['storing'], answers: ['grant'] },
    completed: { next: ['storing'] },
    failed: again,
    released: { next: ['queued'] },
    'attempt-lost': again,
    cancel: { next: [state], answers: ['cancelling'] },
    'cancel-requested': { next: ['cancelling'] },
  }
}
