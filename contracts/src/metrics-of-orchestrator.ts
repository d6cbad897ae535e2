import type { FailureCode } from './failures.ts'
import { type JobState, jobStates, terminalStates } from './job.ts'
import { blamed, doors, type MetricSpec, noFailure, outcomeLabels } from './metric-spec.ts'
import { startStages } from './requests.ts'
import { streams } from './streams.ts'
import { providers } from './wakes.ts'

/** In which a job has not ended. */
type LiveState = Exclude<JobState, 'completed' | 'failed' | 'cancelled'>
const liveStates = jobStates.filter((state): state is LiveState => !terminalStates.has(state))
const streamNames = Object.keys(streams) as (keyof typeof streams)[] // keys() forgets them.
const engines = ['infinitetalk', 'preview', 'null', 'other'] as const
/** 180 is the specification's bound of a generation, so that a quantile is exact there. */
const jobSeconds = [
  1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 240, 300, 450, 600, 900, 1800, 3600,
] as const

/** The codes by which a job, or an attempt, can end. */
export const jobFailureCodes = [
  'AUDIO_EMPTY',
  'AUDIO_UNREADABLE',
  'DEADLINE_EXCEEDED',
  'FACE_TOO_SMALL',
  'FACE_TURNED',
  'FACE_UNUSABLE',
  'GPU_OUT_OF_MEMORY',
  'IMAGE_UNREADABLE',
  'INPUT_GONE',
  'NO_FACE',
  'OUTPUT_INVALID',
  'PUBLISH_REFUSED',
  'QUEUE_TIMEOUT',
  'RENDER_BROKEN',
  'RENDER_FAILED',
  'RENDER_PROCESS_DIED',
  'SPEAKER_NOT_FOUND',
  'STORE_UNAVAILABLE',
  'UNEXPECTED',
  'UPLOAD_FAILED',
  'WORKER_LOST',
] as const satisfies readonly FailureCode[]

/** Refused in four ways, taken, answered by a worker, ended, lost, or taken back. */
export const wakeOutcomes = [
  'rung',
  'rate-limited',
  'away',
  'not-allowed',
  'no-credit',
  'started',
  'ready',
  'ended',
  'lost',
  'withdrawn',
] as const

/** How the states of an attempt's end are told; `refused` and `overdue` of `attemptEnds` are failures. */
export const attemptOutcomes = ['completed', 'failed', 'lost', 'released', 'cancelled'] as const

/** What the orchestrator tells: of jobs, workers, the broker's streams, and money. */
export const orchestratorMetrics = {
  job_transitions_total: {
    by: ['orchestrator'],
    type: 'counter',
    help: 'Changes of state, by the state reached',
    labels: { state: jobStates },
  },
  jobs: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'Unfinished jobs, by state',
    labels: { state: liveStates },
  },
  queue_oldest_seconds: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'How long the oldest queued job that may start has waited; 0 when none waits',
    labels: {},
  },
  queue_wait_seconds: {
    by: ['orchestrator'],
    type: 'histogram',
    help: 'From queued to claimed; cold when no worker was loaded when the job was queued',
    labels: { start: ['warm', 'cold'] },
    buckets: [0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 21_600, 86_400],
  },
  jobs_finished_total: {
    by: ['orchestrator'],
    type: 'counter',
    help: 'Ended jobs; code and blame are none unless they failed',
    labels: { outcome: ['completed', 'failed', 'cancelled'], ...outcomeLabels, door: doors },
    zeros: doors.flatMap((door) => [
      { outcome: 'completed', ...noFailure, door },
      { outcome: 'cancelled', ...noFailure, door },
      ...jobFailureCodes.map((code) => ({ outcome: 'failed', ...blamed(code), door })),
    ]),
  },
  job_duration_seconds: {
    by: ['orchestrator'],
    type: 'histogram',
    help: 'From accepted to ended',
    labels: { outcome: ['completed', 'failed', 'cancelled'], door: doors },
    buckets: jobSeconds,
  },
  render_duration_seconds: {
    by: ['orchestrator'],
    type: 'histogram',
    help: 'Generation time: from the first forward pass to the last frame of a delivered video',
    labels: { engine: engines, size: null },
    buckets: jobSeconds,
  },
  render_pace_ratio: {
    by: ['orchestrator'],
    type: 'histogram',
    help: 'Seconds of rendering for a second of delivered video',
    labels: { engine: engines, size: null },
    buckets: [0.1, 0.25, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100, 200],
  },
  video_seconds_total: {
    by: ['orchestrator'],
    type: 'counter',
    help: 'Seconds of delivered video',
    labels: { engine: engines },
  },
  store_duration_seconds: {
    by: ['orchestrator'],
    type: 'histogram',
    help: 'From the last frame to completed: encoding, upload and verification',
    labels: {},
    buckets: [0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 1800, 7200],
  },
  attempts_ended_total: {
    by: ['orchestrator'],
    type: 'counter',
    help: 'Ended attempts; code and blame are none unless they failed or were lost',
    labels: { outcome: attemptOutcomes, ...outcomeLabels },
    zeros: [
      ...(['completed', 'released', 'cancelled'] as const).map((outcome) => ({
        outcome,
        ...noFailure,
      })),
      { outcome: 'lost', ...blamed('WORKER_LOST') },
      ...jobFailureCodes.map((code) => ({ outcome: 'failed', ...blamed(code) })),
    ],
  },
  estimate_error_ratio: {
    by: ['orchestrator'],
    type: 'histogram',
    help: '|told - true| / true of the render, as estimated at its claim, and of the finish, as promised first',
    labels: { of: ['render', 'finish'] },
    buckets: [0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5],
  },
  reconciled_total: {
    by: ['orchestrator'],
    type: 'counter',
    help: 'What the reconciler had to repair: 0 in good times',
    labels: { repair: ['resubmitted', 'timed_out', 'reminded', 'view'] },
  },
  workers: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'Workers, by the state of their last heartbeat',
    labels: { state: ['loading', 'ready', 'rendering', 'draining'] },
  },
  worker_info: {
    by: ['orchestrator'],
    type: 'gauge',
    help: '1 for each worker',
    labels: { worker: null, engine: null, device: null, precision: null },
    onlyWith: 'a worker',
  },
  worker_pace_ratio: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'Seconds that a worker takes for a second of video',
    labels: { worker: null },
    onlyWith: 'a worker',
  },
  worker_seen_seconds: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'Since the last heartbeat of a worker',
    labels: { worker: null },
    onlyWith: 'a worker',
  },
  worker_loading_seconds: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'How long a worker has been loading its engine, and which stage it is at',
    labels: { worker: null, stage: null },
    onlyWith: 'a worker that loads',
  },
  render_stalled_seconds: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'Since the progress of the current render last moved',
    labels: { worker: null },
    onlyWith: 'a worker that renders',
  },
  worker_start_seconds: {
    by: ['orchestrator'],
    type: 'histogram',
    help: 'A cold start by stage, once for each life of a render process',
    labels: { stage: startStages },
    buckets: [0.5, 1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200],
  },
  gpu_utilization_ratio: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'Part of the last 15 s in which any kernel ran',
    labels: { worker: null, gpu: null },
    onlyWith: 'a GPU',
  },
  gpu_memory_used_bytes: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'GPU memory in use',
    labels: { worker: null, gpu: null },
    onlyWith: 'a GPU',
  },
  gpu_memory_total_bytes: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'GPU memory in all',
    labels: { worker: null, gpu: null },
    onlyWith: 'a GPU',
  },
  gpu_temperature_celsius: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'Temperature of the GPU',
    labels: { worker: null, gpu: null },
    onlyWith: 'a GPU',
  },
  gpu_power_watts: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'Power that the GPU draws',
    labels: { worker: null, gpu: null },
    onlyWith: 'a GPU',
  },
  gpu_throttled: {
    by: ['orchestrator'],
    type: 'gauge',
    help: '1 while heat or power slows the GPU down',
    labels: { worker: null, gpu: null },
    onlyWith: 'a GPU',
  },
  stream_messages: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'Messages in a stream of the broker',
    labels: { stream: streamNames },
  },
  stream_bytes: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'Bytes in a stream of the broker',
    labels: { stream: streamNames },
  },
  stream_last_sequence: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'Messages ever stored in a stream; deleting them does not turn it back',
    labels: { stream: streamNames },
  },
  consumer_pending: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'Messages that a consumer has not delivered yet',
    labels: { consumer: null },
  },
  consumer_ack_pending: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'Messages that are delivered and not acknowledged',
    labels: { consumer: null },
  },
  consumer_redelivered: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'Messages that are delivered again',
    labels: { consumer: null },
  },
  cost_usd: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'What the GPUs have cost in this period (UTC), by the ledger; it knows no price of storage',
    labels: { period: ['day', 'month'] },
    onlyWith: 'CURRENCY=USD',
  },
  budget_usd: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'SERVICE_BUDGET_PER_DAY; there is no other budget of the service',
    labels: { period: ['day'] },
    onlyWith: 'CURRENCY=USD and a budget',
  },
  cost_updated_timestamp_seconds: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'When the ledger was last known to be read to its end',
    labels: {},
    onlyWith: 'CURRENCY=USD',
  },
  job_cost_usd: {
    by: ['orchestrator'],
    type: 'histogram',
    help: 'What a completed job is charged',
    labels: { engine: engines },
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    onlyWith: 'CURRENCY=USD',
  },
  usage_today_gpu_seconds: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'GPU seconds of today, UTC: attempts, cold starts and idle time',
    labels: {},
  },
  usage_today_amount: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'What they cost, in CURRENCY',
    labels: {},
  },
  workers_wanted: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'How many workers there should be, by the orchestrator that decides',
    labels: { pool: null },
    onlyWith: 'the lease to decide',
  },
  wakeups_total: {
    by: ['orchestrator'],
    type: 'counter',
    help: 'What became of asking a provider for a worker: taken or refused, and whether one came',
    labels: { provider: providers, outcome: wakeOutcomes },
    zeros: wakeOutcomes.map((outcome) => ({ provider: 'runpod', outcome })),
  },
  endpoint_max_workers: {
    by: ['orchestrator'],
    type: 'gauge',
    help: 'The most workers that the provider would start, as it said last',
    labels: { provider: providers },
    onlyWith: 'SCALE_PROVIDER=runpod and the lease to decide',
  },
  bill_difference_ratio: {
    by: ['orchestrator'],
    type: 'gauge',
    help: "How far a pool's latest bill is from its workers' own clocks, as a part of it",
    labels: { pool: null },
    onlyWith: 'a bill',
  },
} as const satisfies Record<string, MetricSpec>
