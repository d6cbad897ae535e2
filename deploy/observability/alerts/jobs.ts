import type { Alert } from './alert.ts'

const ended = 'infinitetalk_jobs_finished_total{outcome=~"completed|failed",blame!="caller"}'
const failed = 'infinitetalk_jobs_finished_total{outcome="failed",blame!="caller"}'
const completedBy = 'infinitetalk_jobs_finished_total{outcome="completed",code="none",blame="none"}'
const failedBy = (blame: string) =>
  `infinitetalk_jobs_finished_total{outcome="failed",code="X",blame="${blame}"}`
const rendered = (le: string) => `infinitetalk_render_duration_seconds_bucket{le="${le}"}`
const renderCount = 'infinitetalk_render_duration_seconds_count'
const oldest = 'infinitetalk_queue_oldest_seconds{job="orchestrator"}'
const workers = (state: string) => `infinitetalk_workers{job="orchestrator",state="${state}"}`
const told = (le: string) => `infinitetalk_estimate_error_ratio_bucket{of="finish",le="${le}"}`
const toldCount = 'infinitetalk_estimate_error_ratio_count{of="finish"}'
const deleted = (le: string) =>
  `infinitetalk_deletion_lateness_seconds_bucket{job="janitor",le="${le}"}`
const deletedCount = 'infinitetalk_deletion_lateness_seconds_count{job="janitor"}'
/**
 * How many deletions were late, as one number. `increase` does not serve here: it sees nothing in a series
 * that appears with 1, as a histogram does, and stretches count and bucket differently.
 */
const late = (offset: string) =>
  `sum by (instance) (infinitetalk_deletion_lateness_seconds_count${offset})` +
  ` - sum by (instance) (infinitetalk_deletion_lateness_seconds_bucket{le=~"900(\\\\.0)?"}${offset})`

/** Whether jobs are served, end well, in time, and are deleted as promised. */
export const jobAlerts = [
  {
    name: 'ErrorRateHigh',
    severity: 'page',
    for: '5m',
    expr:
      `sum(increase(${failed}[30m])) / sum(increase(${ended}[30m])) > 0.05` +
      ` and sum(increase(${ended}[30m])) >= 20`,
    summary:
      '{{ $value | humanizePercentage }} of the jobs of the last 30 minutes failed, not by their callers.',
    fires: [
      {
        why: '7.5 % of 30 jobs',
        at: '40m',
        series: { [completedBy]: '0+0.925x45', [failedBy('us')]: '0+0.075x45' },
      },
    ],
    quiet: [
      {
        why: '3.5 % of 30 jobs',
        at: '40m',
        series: { [completedBy]: '0+0.965x45', [failedBy('us')]: '0+0.035x45' },
      },
      {
        why: 'half of 15 jobs',
        at: '40m',
        series: { [completedBy]: '0+0.25x45', [failedBy('dependency')]: '0+0.25x45' },
      },
      {
        why: 'half of 60 jobs, by their callers',
        at: '40m',
        series: { [completedBy]: '0+1x45', [failedBy('caller')]: '0+1x45' },
      },
    ],
  },
  {
    name: 'JobFailed',
    severity: 'ticket',
    expr: 'sum by (code) (increase(infinitetalk_jobs_finished_total{outcome="failed",blame="us"}[15m])) > 0',
    summary: 'A job failed by our fault: {{ $labels.code }}.',
    fires: [{ why: 'the first of its kind', at: '7m', series: { [failedBy('us')]: '0x5 1x10' } }],
    quiet: [
      { why: 'by its caller', at: '7m', series: { [failedBy('caller')]: '0x5 1x10' } },
      { why: 'long ago', at: '30m', series: { [failedBy('us')]: '0x5 1x30' } },
    ],
  },
  {
    name: 'GenerationSlow',
    severity: 'ticket',
    for: '5m',
    expr:
      'histogram_quantile(0.95, sum by (le) (rate(infinitetalk_render_duration_seconds_bucket[30m]))) > 180' +
      ' and sum(increase(infinitetalk_render_duration_seconds_count[30m])) >= 20',
    summary:
      'One generation in twenty takes {{ $value | humanizeDuration }} or longer; 180 s are promised.',
    fires: [
      {
        why: '30 renders of up to 300 s',
        at: '40m',
        series: {
          [rendered('180')]: '0x45',
          [rendered('300')]: '0+1x45',
          [rendered('+Inf')]: '0+1x45',
          [renderCount]: '0+1x45',
        },
      },
    ],
    quiet: [
      {
        why: '30 renders of up to 180 s',
        at: '40m',
        series: {
          [rendered('120')]: '0x45',
          [rendered('180')]: '0+1x45',
          [rendered('300')]: '0+1x45',
          [rendered('+Inf')]: '0+1x45',
          [renderCount]: '0+1x45',
        },
      },
      {
        why: '15 slow renders',
        at: '40m',
        series: {
          [rendered('180')]: '0x45',
          [rendered('300')]: '0+0.5x45',
          [rendered('+Inf')]: '0+0.5x45',
          [renderCount]: '0+0.5x45',
        },
      },
    ],
  },
  {
    name: 'QueueNotServed',
    severity: 'page',
    for: '1m',
    expr: 'max(infinitetalk_queue_oldest_seconds) > 120 and max(infinitetalk_workers{state="ready"}) > 0',
    summary: 'A job has waited for {{ $value | humanizeDuration }} although a worker is free.',
    fires: [
      {
        why: '3 minutes, and one is free',
        at: '3m',
        series: { [oldest]: '180x5', [workers('ready')]: '1x5' },
      },
    ],
    quiet: [
      {
        why: 'a minute and a half',
        at: '3m',
        series: { [oldest]: '90x5', [workers('ready')]: '1x5' },
      },
      {
        why: 'all workers render',
        at: '3m',
        series: { [oldest]: '180x5', [workers('ready')]: '0x5', [workers('rendering')]: '3x5' },
      },
    ],
  },
  {
    name: 'NoWorker',
    severity: 'page',
    for: '1m',
    expr:
      'max(infinitetalk_queue_oldest_seconds) > 600' +
      ' and sum(max by (state) (infinitetalk_workers{state!="draining"})) == 0',
    summary: 'A job has waited for {{ $value | humanizeDuration }} and no worker is there.',
    fires: [
      {
        why: 'a quarter of an hour, and one leaves',
        at: '3m',
        series: { [oldest]: '900x5', [workers('ready')]: '0x5', [workers('draining')]: '1x5' },
      },
    ],
    quiet: [
      { why: '7 minutes', at: '3m', series: { [oldest]: '420x5', [workers('ready')]: '0x5' } },
      {
        why: 'one is loading',
        at: '3m',
        series: { [oldest]: '900x5', [workers('loading')]: '1x5' },
      },
    ],
  },
  {
    name: 'QueueWaitLong',
    severity: 'ticket',
    for: '1m',
    expr: 'max(infinitetalk_queue_oldest_seconds) > 900',
    summary: 'The oldest job has waited for {{ $value | humanizeDuration }}.',
    fires: [{ why: '20 minutes', at: '3m', series: { [oldest]: '1200x5' } }],
    quiet: [{ why: '12 minutes', at: '3m', series: { [oldest]: '720x5' } }],
  },
  {
    name: 'DeadLetters',
    severity: 'ticket',
    expr: 'max(delta(infinitetalk_stream_last_sequence{stream="DLQ"}[15m])) > 0',
    summary: 'A message that nobody could handle was put aside.',
    fires: [
      {
        why: 'the first',
        at: '8m',
        series: { 'infinitetalk_stream_last_sequence{stream="DLQ"}': '0x5 1x10' },
      },
    ],
    quiet: [
      {
        why: 'long ago',
        at: '8m',
        series: { 'infinitetalk_stream_last_sequence{stream="DLQ"}': '7x10' },
      },
      {
        why: 'another stream grows',
        at: '8m',
        series: { 'infinitetalk_stream_last_sequence{stream="EVENTS"}': '0+1x10' },
      },
    ],
  },
  {
    name: 'DeletionLate',
    severity: 'page',
    expr: `(${late('')}) - ((${late(' offset 15m')}) or 0 * (${late('')})) > 0`,
    summary:
      'Media were deleted more than 15 minutes after their time: a promise of privacy was broken.',
    fires: [
      {
        why: 'one of six, an hour late',
        at: '8m',
        series: { [deleted('900')]: '0x2 5x10', [deletedCount]: '0x2 5x2 6x8' },
      },
      {
        why: 'the first deletion since the start',
        at: '8m',
        series: { [deleted('900')]: '_x5 0x10', [deletedCount]: '_x5 1x10' },
      },
      {
        why: 'one, as Prometheus 3 spells the bound',
        at: '8m',
        series: { [deleted('900.0')]: '0x10', [deletedCount]: '0x2 1x8' },
      },
    ],
    quiet: [
      {
        why: 'all in time, after late ones of another day',
        at: '20m',
        series: { [deleted('900')]: '0+1x25', [deletedCount]: '3+1x25' },
      },
    ],
  },
  {
    name: 'EstimateWrong',
    severity: 'ticket',
    for: '5m',
    expr:
      'histogram_quantile(0.5, sum by (le, of) (rate(infinitetalk_estimate_error_ratio_bucket[6h]))) > 0.5' +
      ' and sum by (of) (increase(infinitetalk_estimate_error_ratio_count[6h])) >= 20',
    summary:
      'Half of the estimates of {{ $labels.of }} were wrong by {{ $value | humanizePercentage }} or more.',
    fires: [
      {
        why: '31 estimates, wrong by 75 %',
        at: '45m',
        series: {
          [told('0.5')]: '0x50',
          [told('1')]: '0+0.7x50',
          [told('+Inf')]: '0+0.7x50',
          [toldCount]: '0+0.7x50',
        },
      },
    ],
    quiet: [
      {
        why: 'wrong by 40 %',
        at: '45m',
        series: {
          [told('0.3')]: '0x50',
          [told('0.5')]: '0+0.7x50',
          [told('+Inf')]: '0+0.7x50',
          [toldCount]: '0+0.7x50',
        },
      },
      {
        why: '15 estimates',
        at: '45m',
        series: {
          [told('0.5')]: '0x50',
          [told('1')]: '0+0.35x50',
          [told('+Inf')]: '0+0.35x50',
          [toldCount]: '0+0.35x50',
        },
      },
    ],
  },
] as const satisfies readonly Alert[]
