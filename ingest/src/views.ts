import {
  type EngineFacts,
  isTerminal,
  type JobRecord,
  type Rendered,
  type ResultView,
  type Stage,
  type Status,
  type StatusView,
  stateTable,
} from '@avatar/contracts'
import { describeResult } from '@avatar/job-kit'
import { AppError, type ObjectStore } from '@avatar/service-kit'
import type { Board, RenderAhead } from './board.ts'
import type { Workers } from './workers.ts'

/** What a client sees of a job: its record, with what the board and the workers know at this moment. */
export function statusView(
  job: JobRecord,
  { board, workers, nowMs }: { board: Board; workers: Workers; nowMs: number },
): StatusView {
  const isWaiting = job.state === 'pending' || job.state === 'queued'
  return {
    job_id: job.jobId,
    status: stateTable[job.state].status as Status,
    stage: stageOf(job, workers),
    progress: progressOf(job, workers),
    queue_position: isWaiting ? (board.queuePosition(job.jobId) ?? null) : null,
    attempt: job.epoch,
    audio_seconds: job.audio.seconds,
    estimated_seconds: toTenths(job.estimatedSeconds),
    estimated_completion_at: instant(estimatedEndMs(job, board, workers, nowMs)),
    deadline_seconds: job.deadlineSeconds,
    created_at: new Date(job.createdAtMs).toISOString(),
    queued_at: instant(job.queuedAtMs),
    started_at: instant(job.startedAtMs),
    finished_at: instant(job.finishedAtMs),
    expires_at: instant(job.expiresAtMs),
    deleted_at: instant(job.deletedAtMs),
    error: job.error ?? null,
    trace_id: job.traceparent.split('-')[1] ?? '',
    links: linksOf(job.jobId),
  }
}

/** The job's result. @throws AppError JOB_NOT_COMPLETED; RESULT_DELETED from the moment of expiry on */
export function requireResult(job: JobRecord, nowMs: number): Rendered {
  if (job.state !== 'completed' || !job.result)
    throw new AppError('JOB_NOT_COMPLETED', { details: { status: stateTable[job.state].status } })
  if (job.deletedAtMs !== undefined || nowMs >= (job.expiresAtMs ?? 0))
    throw new AppError('RESULT_DELETED', { details: { expired_at: instant(job.expiresAtMs) } })
  return job.result
}

/** What `/result` answers: a presigned link, and what it leads to. */
export async function resultView(
  objects: ObjectStore,
  job: JobRecord,
  result: Rendered,
  when: { nowMs: number; maxSeconds: number },
): Promise<ResultView> {
  return {
    job_id: job.jobId,
    ...(await describeResult(objects, job, result, when)),
    engine_facts: engineFactsView(result.engineFacts),
    generation: result.generation,
    render_seconds: result.renderSeconds,
  }
}

function engineFactsView(facts: EngineFacts | undefined): ResultView['engine_facts'] {
  if (!facts) return null
  return {
    device: facts.device,
    precision: facts.precision,
    attention_backend: facts.attentionBackend,
    peak_memory_bytes: facts.peakMemoryBytes,
    details: facts.details,
  }
}

/** The paths of everything that a client can ask about a job. */
export function linksOf(jobId: string) {
  return {
    status: `/status/${jobId}`,
    result: `/result/${jobId}`,
    events: `/events/${jobId}`,
    cancel: `/cancel/${jobId}`,
  }
}

function stageOf(job: JobRecord, workers: Workers): Stage {
  switch (job.state) {
    case 'pending':
      return 'accepted'
    case 'queued':
      return workers.serving() > 0 ? 'queued' : 'waiting_for_worker'
    case 'claimed':
      return 'fetching'
    default:
      return job.state
  }
}

function progressOf(job: JobRecord, workers: Workers): number {
  if (job.state === 'completed') return 100
  if (job.state === 'storing') return 99
  if (job.state !== 'rendering' && job.state !== 'cancelling') return 0
  return Math.min(98, toTenths(workers.percentOf(job.jobId, job.epoch)))
}

/** From here on the pace of the render itself is a better guide than the estimate made at admission. */
const paceKnownPercent = 10

/** By the renders ahead and the pace of those under way; undefined while no worker takes jobs. */
function estimatedEndMs(
  job: JobRecord,
  board: Board,
  workers: Workers,
  nowMs: number,
): number | undefined {
  if (isTerminal(job)) return job.finishedAtMs
  if (job.state === 'cancelling') return undefined
  if (job.state === 'storing') return nowMs
  if (job.state === 'rendering') return nowMs + remainingMs(job, workers, nowMs)
  const count = workers.serving()
  if (count === 0) return undefined
  const ahead = board.rendersAhead(job.jobId).map((render) => remainingMs(render, workers, nowMs))
  return nowMs + firstFreeMs(count, ahead) + job.estimatedSeconds * 1000
}

/** How long a render still takes; before its start, all of its estimate. */
function remainingMs(job: RenderAhead, workers: Workers, nowMs: number): number {
  const plannedMs = job.estimatedSeconds * 1000
  if (job.state !== 'rendering' || job.startedAtMs === undefined) return plannedMs
  const percent = workers.percentOf(job.jobId, job.epoch)
  const paceMs = ((nowMs - job.startedAtMs) * 100) / percent
  return Math.max(0, job.startedAtMs + (percent >= paceKnownPercent ? paceMs : plannedMs) - nowMs)
}

/** When the first of `count` workers is free, if each render in turn goes to the one that is free first. */
function firstFreeMs(count: number, rendersMs: readonly number[]): number {
  const free = new Array<number>(count).fill(0)
  for (const ms of rendersMs) {
    const first = free.indexOf(Math.min(...free))
    free[first] = (free[first] ?? 0) + ms
  }
  return Math.min(...free)
}

function instant(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString()
}

/** Rounds to one decimal place. */
export function toTenths(value: number): number {
  return Math.round(value * 10) / 10
}
