import { failureCodes } from './failures.ts'
import {
  blamed,
  doors,
  everyService,
  failureLabels,
  type MeasuredService,
  type MetricSpec,
  metricPrefix,
} from './metric-spec.ts'
import { orchestratorMetrics } from './metrics-of-orchestrator.ts'

/** Every metric of the system. Tests hold it against what a running system tells. */
export const metrics = {
  http_request_duration_seconds: {
    by: ['ingest'],
    type: 'histogram',
    help: 'Time to answer a request; event streams, which last, are counted in event_streams instead',
    labels: { route: null, method: null, status: null },
    buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30],
  },
  event_streams: {
    by: ['ingest'],
    type: 'gauge',
    help: 'Event streams that are open',
    labels: {},
  },
  jobs_accepted_total: {
    by: ['ingest'],
    type: 'counter',
    help: 'New jobs, by the door they came through',
    labels: { door: doors },
  },
  submissions_refused_total: {
    by: ['ingest'],
    type: 'counter',
    help: 'Submissions that became no job',
    labels: { door: doors, ...failureLabels },
    zeros: doors.flatMap((door) => failureCodes.map((code) => ({ door, ...blamed(code) }))),
  },
  submit_duration_seconds: {
    by: ['ingest'],
    type: 'histogram',
    help: 'From spooled inputs to an announced job',
    labels: { door: doors },
    buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  },
  owner_requests_total: {
    by: ['ingest'],
    type: 'counter',
    help: 'Requests with a valid key, by owner: the first 100 since the start by id, then `other`',
    labels: { owner: null },
  },
  rate_refusals_total: {
    by: ['ingest'],
    type: 'counter',
    help: 'Requests refused because their owner or address sends too many',
    labels: { policy: ['submit', 'read', 'auth'] },
  },
  rate_decided_alone_total: {
    by: ['ingest'],
    type: 'counter',
    help: 'Rates that one replica decided alone: the broker away, or its bucket lost or full',
    labels: { reason: ['away', 'lost', 'full', 'contended', 'other'] },
  },
  rate_bucket_restores_total: {
    by: ['ingest'],
    type: 'counter',
    help: 'Times that the rates were lost with the broker, and began anew',
    labels: {},
  },
  ...orchestratorMetrics,

  objects_deleted_total: {
    by: ['janitor'],
    type: 'counter',
    help: 'Objects deleted: their retention ended, no job owns them, or nobody needs them any more',
    labels: { why: ['due', 'expired', 'orphaned', 'stale'] },
  },
  deletion_lateness_seconds: {
    by: ['janitor'],
    type: 'histogram',
    help: "How long after the end of their retention a job's media were deleted",
    labels: {},
    buckets: [1, 5, 15, 60, 300, 900, 3600, 21_600],
  },
  sweep_last_success_timestamp_seconds: {
    by: ['janitor'],
    type: 'gauge',
    help: 'When the last sweep over all objects ended well',
    labels: {},
    onlyWith: 'a sweep that ended well',
  },
  deletions_refused_total: {
    by: ['janitor'],
    type: 'counter',
    help: 'Deletions that wait because the time is in doubt',
    labels: {},
  },

  failures_total: {
    by: everyService,
    type: 'counter',
    help: 'Failures that were logged, by code and by whom the failure table blames',
    labels: failureLabels,
    zeros: failureCodes.map(blamed),
  },
  dead_letters_total: {
    by: everyService,
    type: 'counter',
    help: 'Messages that nobody could handle; each consumer begins with every code',
    labels: { consumer: null, ...failureLabels },
  },
  publish_retries_total: {
    by: everyService,
    type: 'counter',
    help: 'Publishes that were not stored and are tried again',
    labels: { reason: ['no_responders', 'timeout', 'disconnected', 'full', 'other'] },
  },
  clock_ahead_seconds: {
    by: everyService,
    type: 'gauge',
    help: "How far this machine's clock is ahead of the broker's",
    labels: {},
  },
  dependency_up: {
    by: everyService,
    type: 'gauge',
    help: 'Whether a dependency answers, as /readyz has it',
    labels: { dependency: ['nats', 'store'] },
  },
  loop_last_pass_timestamp_seconds: {
    by: everyService,
    type: 'gauge',
    help: 'When a loop last came round; a loop that may wait for ever, as for a change, is left out',
    labels: { loop: null },
  },
  loop_period_seconds: {
    by: everyService,
    type: 'gauge',
    help: 'How often a loop should come round; ten times that and 60 s later it is stuck',
    labels: { loop: null },
  },
  disk_free_ratio: {
    by: ['ingest', 'orchestrator'],
    type: 'gauge',
    help: "Free part of a disk: ingest's spool, and each worker's",
    labels: { volume: null, worker: null },
  },
  log_lines_total: {
    by: everyService,
    type: 'counter',
    help: 'Lines that were logged',
    labels: { level: ['fatal', 'error', 'warn', 'info', 'debug', 'trace'] },
  },
  scrape_errors_total: {
    by: everyService,
    type: 'counter',
    help: 'Metrics that could not be read for a scrape',
    labels: {},
  },
  spans_dropped_total: {
    by: everyService,
    type: 'counter',
    help: 'Spans that never reached the collector',
    labels: {},
  },
  process_start_timestamp_seconds: {
    by: everyService,
    type: 'gauge',
    help: 'When the process started',
    labels: {},
  },
  process_resident_memory_bytes: {
    by: everyService,
    type: 'gauge',
    help: 'Memory that the process holds',
    labels: {},
  },
  event_loop_delay_seconds: {
    by: everyService,
    type: 'gauge',
    help: 'P99 of how late the event loop turned since the last scrape',
    labels: {},
  },
  build_info: {
    by: everyService,
    type: 'gauge',
    help: '1, with the version',
    labels: { version: null },
  },
} as const satisfies Record<string, MetricSpec>

export type MetricKey = keyof typeof metrics

/** The name of a metric as Prometheus has it. */
export function metricName(key: MetricKey): string {
  return metricPrefix + key
}

/** The keys of a service's metrics. */
export type MetricsOf<S extends MeasuredService> = {
  [K in MetricKey]: S extends (typeof metrics)[K]['by'][number] ? K : never
}[MetricKey]
