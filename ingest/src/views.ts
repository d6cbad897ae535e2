import {
  type EngineFacts,
  type JobRecord,
  type Needs,
  needsOf,
  type Rendered,
  type RenderOptions,
  type ResultView,
  type Stage,
  type Status,
  type StatusView,
  stateTable,
  usualQuality,
} from '@avatar/contracts'
import { describeResult, presignVideo } from '@avatar/job-kit'
import { AppError, type ObjectStore } from '@avatar/service-kit'
import type { Board } from './board.ts'
import type { IngestConfig } from './config.ts'
import { type Estimates, mayDo } from './estimates.ts'
import { costView } from './money.ts'
import { type ScaleView, workerView } from './scale-view.ts'
import type { Workers } from './workers.ts'

type StatusContext = {
  board: Pick<Board, 'queuePosition' | 'heldBackOf'>
  workers: Pick<Workers, 'heldOf' | 'alive'>
  scale: Pick<ScaleView, 'summary' | 'scaled' | 'open'>
  estimates: Pick<Estimates, 'completesAtMs'>
  config: Pick<IngestConfig, 'PUBLIC_PATH_PREFIX' | 'POOL_PRICES' | 'CURRENCY'>
  nowMs: number
}

/** What a client sees of a job: its record, with what the board and the workers know at this moment. */
export function statusView(job: JobRecord, context: StatusContext): StatusView {
  const { board, workers, estimates, config, nowMs } = context
  const isServed = hasWorker(context, needsOf(job))
  return {
    job_id: job.jobId,
    status: stateTable[job.state].status as Status,
    stage: stageOf(job, isServed),
    progress: progressOf(job, workers, nowMs),
    queue_position: isWaiting(job) ? (board.queuePosition(job.jobId) ?? null) : null,
    waiting_for: waitingFor(job, board, isServed),
    worker: workerOf(job, context, isServed),
    priority: job.priority ?? 'normal',
    attempt: job.epoch,
    audio_seconds: job.audio.seconds,
    estimated_seconds: toTenths(job.estimatedSeconds),
    estimated_completion_at: instant(estimates.completesAtMs(job, nowMs)),
    deadline_seconds: job.deadlineSeconds,
    created_at: new Date(job.createdAtMs).toISOString(),
    queued_at: instant(job.queuedAtMs),
    started_at: instant(job.startedAtMs),
    finished_at: instant(job.finishedAtMs),
    expires_at: instant(job.expiresAtMs),
    deleted_at: instant(job.deletedAtMs),
    error: job.error ?? null,
    cost: costView(job, config),
    ...(job.warnings ? { warnings: job.warnings } : {}),
    ...(job.how ? { options: optionsView(job.how) } : {}),
    trace_id: job.traceparent.split('-')[1] ?? '',
    links: linksOf(job.jobId, config),
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

/** What `/result` answers: presigned links to play, to save and to inspect the video, and what they lead to. */
export async function resultView(
  objects: ObjectStore,
  job: JobRecord,
  result: Rendered,
  when: { nowMs: number; maxSeconds: number },
): Promise<ResultView> {
  const link = (use: Parameters<typeof presignVideo>[3]) =>
    presignVideo(objects, job, result, use, when)
  return {
    job_id: job.jobId,
    ...(await describeResult(objects, job, result, when)),
    download_url: await link({ disposition: 'attachment' }),
    head_url: await link({ method: 'HEAD', disposition: 'inline' }),
    engine_facts: engineFactsView(result.engineFacts),
    generation: result.generation,
    sampling: result.sampling ?? null,
    resumed: result.resumed ?? false,
    render_seconds: result.renderSeconds,
    quality: job.how?.quality ?? usualQuality,
    speakers: needsOf(job).speakers,
    source: job.source ? 'video' : 'image',
    ...(job.how ? { options: optionsView(job.how) } : {}),
    ...(result.checks && { checks: result.checks }),
    warnings: result.warnings ?? [],
  }
}

/** What the submission asked for, in the words of the submission. */
function optionsView(how: RenderOptions): NonNullable<StatusView['options']> {
  const { leadSeconds, tailSeconds, videoLength, videoEnd, ...same } = how
  const renamed = {
    lead_seconds: leadSeconds,
    tail_seconds: tailSeconds,
    video_length: videoLength,
    video_end: videoEnd,
  }
  const given = Object.entries({ ...same, ...renamed }).filter(([, value]) => value !== undefined)
  return Object.fromEntries(given)
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
export function linksOf(
  jobId: string,
  { PUBLIC_PATH_PREFIX: prefix }: Pick<IngestConfig, 'PUBLIC_PATH_PREFIX'>,
) {
  return {
    status: `${prefix}/status/${jobId}`,
    result: `${prefix}/result/${jobId}`,
    events: `${prefix}/events/${jobId}`,
    cancel: `${prefix}/cancel/${jobId}`,
  }
}

function isWaiting({ state }: JobRecord): boolean {
  return state === 'pending' || state === 'queued'
}

/** What keeps its owner's jobs back comes before the workers, who would not take the job either way. */
function waitingFor(
  job: JobRecord,
  board: StatusContext['board'],
  isServed: boolean,
): StatusView['waiting_for'] {
  if (!isWaiting(job)) return null
  return board.heldBackOf(job.owner) ?? (isServed ? 'turn' : 'worker')
}

/** Whether a worker is there that can do it. Where workers are woken, one that still loads is waited for. */
function hasWorker({ workers, scale }: StatusContext, needs: Needs): boolean {
  const able = workers.alive().filter(({ beat }) => mayDo(beat, needs))
  if (!scale.scaled()) return able.some(({ beat }) => beat.state !== 'draining')
  return able.some(({ beat: { state } }) => state === 'ready' || state === 'rendering')
}

/** The worker that a job waits for, if it waits for one and not for its own limits. */
function workerOf(
  job: JobRecord,
  { board, workers, scale, nowMs }: StatusContext,
  isServed: boolean,
): StatusView['worker'] {
  const beats = workers.alive().map(({ beat }) => beat)
  const isAboutToTake = scale.scaled() !== undefined && beats.some(({ state }) => state === 'ready')
  if (!isWaiting(job) || board.heldBackOf(job.owner)) return null
  if (isServed && !isAboutToTake) return null
  return workerView(job.queuedAtMs ?? job.createdAtMs, scale, beats, nowMs)
}

function stageOf(job: JobRecord, isServed: boolean): Stage {
  switch (job.state) {
    case 'pending':
      return 'accepted'
    case 'queued':
      return isServed ? 'queued' : 'waiting_for_worker'
    case 'claimed':
      return 'fetching'
    default:
      return job.state
  }
}

function progressOf(job: JobRecord, workers: StatusContext['workers'], nowMs: number): number {
  if (job.state === 'completed') return 100
  if (job.state === 'storing') return 99
  if (job.state !== 'rendering' && job.state !== 'cancelling') return 0
  const told = workers.heldOf(job.jobId, job.epoch)?.percent
  return Math.min(98, toTenths(told ?? plannedPercent(job, nowMs)))
}

/** How far a render should be of which no worker was heard: until its next heartbeat, if we have just started. */
function plannedPercent({ startedAtMs, estimatedSeconds }: JobRecord, nowMs: number): number {
  if (startedAtMs === undefined || estimatedSeconds <= 0) return 0
  return Math.max(0, (nowMs - startedAtMs) / 10 / estimatedSeconds)
}

/** ISO 8601, UTC; null for undefined. */
export function instant(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString()
}

/** Rounds to one decimal place. */
export function toTenths(value: number): number {
  return Math.round(value * 10) / 10
}
