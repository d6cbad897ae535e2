import {
  chargedOf,
  type FailureCode,
  failures,
  isTerminal,
  type JobRecord,
  type LabelsOf,
  metrics,
  noFailure,
} from '@avatar/contracts'
import type { Transition } from '../records/job-writer.ts'
import { estimateErrors } from './estimate-errors.ts'

type Measured =
  | 'job_transitions_total'
  | 'queue_wait_seconds'
  | 'jobs_finished_total'
  | 'job_duration_seconds'
  | 'render_duration_seconds'
  | 'render_pace_ratio'
  | 'video_seconds_total'
  | 'store_duration_seconds'
  | 'attempts_ended_total'
  | 'estimate_error_ratio'
  | 'job_cost_usd'

/** One value for one counter or histogram. */
export type Measurement = {
  [Name in Measured]: {
    name: Name
    value: number
    labels: LabelsOf<(typeof metrics)[Name]>
  }
}[Measured]

/** What measurements follow from besides the transition. */
export type Circumstances = {
  /** Whether a worker was ready or rendering at a time: then a job that was queued found a warm system. */
  wasWarmAt(atMs: number): boolean
  /** Whether amounts are US dollars, the only currency whose name a metric has. */
  isInDollars: boolean
}

type Outcome = LabelsOf<typeof metrics.jobs_finished_total>['outcome']
type Engine = LabelsOf<typeof metrics.video_seconds_total>['engine']

/** What a change of state adds to the metrics. It is pure: a transition always measures the same. */
export function measurementsOf(
  transition: Transition,
  circumstances: Circumstances,
): Measurement[] {
  const { before, after } = transition
  return [
    { name: 'job_transitions_total', value: 1, labels: { state: after.state } },
    ...(after.state === 'claimed' ? ofWait(after, circumstances) : []),
    ...ofAttempt(transition),
    ...(isTerminal(after) && !isTerminal(before) ? ofEnd(after) : []),
    ...(after.state === 'completed' ? ofVideo(after, circumstances) : []),
  ]
}

function ofWait({ queuedAtMs, claimedAtMs }: JobRecord, { wasWarmAt }: Circumstances) {
  if (queuedAtMs === undefined || claimedAtMs === undefined) return []
  return [
    {
      name: 'queue_wait_seconds' as const,
      value: Math.max(0, claimedAtMs - queuedAtMs) / 1000,
      labels: { start: startOf(queuedAtMs, wasWarmAt) },
    },
  ]
}

/** Whether a job that was queued at this time found a loaded worker. */
export function startOf(
  queuedAtMs: number,
  wasWarmAt: Circumstances['wasWarmAt'],
): 'warm' | 'cold' {
  return wasWarmAt(queuedAtMs) ? 'warm' : 'cold'
}

function ofAttempt({ before, after, message }: Transition): Measurement[] {
  const ended = after.spent?.at(-1)
  const isBooked = before.spent?.some(({ epoch }) => epoch === ended?.epoch)
  if (!ended || isBooked) return []
  const told = 'code' in message ? message.code : 'UNEXPECTED'
  const labels = attemptLabels(ended.end, told)
  return [{ name: 'attempts_ended_total', value: 1, labels }]
}

/** How an attempt's end is told. An attempt that was refused or overdue has failed. */
export function attemptLabels(
  end: NonNullable<JobRecord['spent']>[number]['end'],
  code: FailureCode,
): LabelsOf<typeof metrics.attempts_ended_total> {
  switch (end) {
    case 'failed':
      return { outcome: 'failed', code, blame: failures[code].blame }
    case 'refused':
      return { outcome: 'failed', code: 'OUTPUT_INVALID', blame: failures.OUTPUT_INVALID.blame }
    case 'overdue':
      return {
        ...{ outcome: 'failed', code: 'DEADLINE_EXCEEDED' },
        blame: failures.DEADLINE_EXCEEDED.blame,
      }
    case 'lost':
      return { outcome: 'lost', code: 'WORKER_LOST', blame: failures.WORKER_LOST.blame }
    default:
      return { outcome: end, ...noFailure }
  }
}

function ofEnd({ state, door, error, createdAtMs, finishedAtMs = createdAtMs }: JobRecord) {
  const outcome = state as Outcome // It is terminal.
  const failure = error ? { code: error.code, blame: failures[error.code].blame } : noFailure
  return [
    { name: 'jobs_finished_total' as const, value: 1, labels: { outcome, ...failure, door } },
    {
      name: 'job_duration_seconds' as const,
      value: (finishedAtMs - createdAtMs) / 1000,
      labels: { outcome, door },
    },
  ]
}

function ofVideo(job: JobRecord, { isInDollars }: Circumstances): Measurement[] {
  const { result, used, startedAtMs, finishedAtMs } = job
  if (!result) return []
  const { renderSeconds, videoSeconds } = result
  const engine = engineOf(result.engine)
  const labels = { engine, size: used?.size ?? 'unknown' }
  const measurements: Measurement[] = [
    { name: 'render_duration_seconds', value: renderSeconds, labels },
    { name: 'render_pace_ratio', value: renderSeconds / videoSeconds, labels },
    { name: 'video_seconds_total', value: videoSeconds, labels: { engine } },
    ...estimateErrors(job).map(({ of, ratio }) => ({
      name: 'estimate_error_ratio' as const,
      value: ratio,
      labels: { of },
    })),
  ]
  // Without its start, which may be lost, nobody knows when its last frame came.
  if (startedAtMs !== undefined && finishedAtMs !== undefined) {
    const value = Math.max(0, (finishedAtMs - startedAtMs) / 1000 - renderSeconds)
    measurements.push({ name: 'store_duration_seconds', value, labels: {} })
  }
  if (isInDollars) {
    // The sum that the job's posting carries.
    const value = chargedOf(job).micros / 1_000_000
    measurements.push({ name: 'job_cost_usd', value, labels: { engine } })
  }
  return measurements
}

/** An engine by its label: what another version calls its own is `other`. */
export function engineOf(engine: string): Engine {
  const known: readonly Engine[] = metrics.video_seconds_total.labels.engine
  return known.find((name) => name === engine) ?? 'other'
}
