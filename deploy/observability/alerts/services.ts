import type { Alert } from './alert.ts'

const loop = (name: string) => `infinitetalk_${name}{job="janitor",instance="a",loop="sweep"}`

/** Whether the services are there and turn. */
export const serviceAlerts = [
  {
    name: 'ApiDown',
    severity: 'page',
    for: '1m',
    expr: [
      'max by (job) (up{job="ingest"}) == 0',
      'absent(up{job="ingest"})',
      'max by (job) (probe_success{job="probe"}) == 0',
    ].join(' or '),
    summary: 'The API does not answer ({{ $labels.job }}): no job can be submitted or fetched.',
    fires: [
      {
        why: 'ingest cannot be scraped, and nothing probes',
        at: '3m',
        series: { 'up{job="ingest",instance="a"}': '1 0x5' },
      },
      {
        why: 'both replicas are down',
        at: '3m',
        series: {
          'up{job="ingest",instance="a"}': '1 0x5',
          'up{job="ingest",instance="b"}': '0x6',
        },
      },
      { why: 'nobody knows of an ingest', at: '3m', series: { 'up{job="janitor"}': '1x6' } },
      {
        why: 'it is scraped, but /health says no',
        at: '3m',
        series: { 'up{job="ingest"}': '1x6', 'probe_success{job="probe"}': '1 0x5' },
      },
    ],
    quiet: [
      {
        why: 'all is well',
        at: '3m',
        series: { 'up{job="ingest"}': '1x6', 'probe_success{job="probe"}': '1x6' },
      },
      {
        why: 'one replica of two answers',
        at: '5m',
        series: {
          'up{job="ingest",instance="a"}': '1x6',
          'up{job="ingest",instance="b"}': '0x6',
        },
      },
      {
        why: 'a restart takes less than a minute',
        at: '3m',
        series: { 'up{job="ingest",instance="a"}': '1x2 0 1x3' },
      },
    ],
  },
  {
    name: 'ServiceDown',
    severity: 'page',
    for: '2m',
    expr: [
      'up{job=~"ingest|orchestrator|janitor"} == 0',
      'absent(up{job="orchestrator"})',
      'absent(up{job="janitor"})',
    ].join(' or '),
    summary: '{{ $labels.job }} ({{ $labels.instance }}) has been down for two minutes.',
    fires: [
      {
        why: 'the janitor cannot be scraped',
        at: '4m',
        series: { 'up{job="janitor"}': '1 0x5', 'up{job="orchestrator"}': '1x6' },
      },
      {
        why: 'one replica of ingest is down',
        at: '4m',
        series: {
          'up{job="ingest",instance="b"}': '1 0x5',
          'up{job="janitor"}': '1x6',
          'up{job="orchestrator"}': '1x6',
        },
      },
      { why: 'nobody knows of an orchestrator', at: '4m', series: { 'up{job="janitor"}': '1x6' } },
    ],
    quiet: [
      {
        why: 'all are up',
        at: '4m',
        series: {
          'up{job="ingest"}': '1x6',
          'up{job="janitor"}': '1x6',
          'up{job="orchestrator"}': '1x6',
        },
      },
      {
        why: 'it came back after a minute',
        at: '4m',
        series: { 'up{job="janitor"}': '1x1 0x1 1x5', 'up{job="orchestrator"}': '1x6' },
      },
    ],
  },
  {
    name: 'BrokerAway',
    severity: 'page',
    for: '1m',
    expr: 'min by (dependency) (infinitetalk_dependency_up{dependency="nats"}) == 0',
    summary: 'A service cannot reach the broker: jobs are refused and none moves on.',
    fires: [
      {
        why: 'one of two services cannot reach it',
        at: '3m',
        series: {
          'infinitetalk_dependency_up{job="ingest",dependency="nats"}': '1 0x5',
          'infinitetalk_dependency_up{job="janitor",dependency="nats"}': '1x6',
        },
      },
    ],
    quiet: [
      {
        why: 'it is the store that is away',
        at: '3m',
        series: {
          'infinitetalk_dependency_up{job="ingest",dependency="nats"}': '1x6',
          'infinitetalk_dependency_up{job="ingest",dependency="store"}': '0x6',
        },
      },
    ],
  },
  {
    name: 'StoreAway',
    severity: 'page',
    for: '5m',
    expr: 'min by (dependency) (infinitetalk_dependency_up{dependency="store"}) == 0',
    summary:
      'A service cannot reach the store: inputs and videos can be neither stored nor deleted.',
    fires: [
      {
        why: 'away for longer than five minutes',
        at: '8m',
        series: { 'infinitetalk_dependency_up{job="ingest",dependency="store"}': '1 0x10' },
      },
    ],
    quiet: [
      {
        why: 'away for four minutes',
        at: '5m',
        series: { 'infinitetalk_dependency_up{job="ingest",dependency="store"}': '1 0x3 1x5' },
      },
    ],
  },
  {
    name: 'LoopStuck',
    severity: 'page',
    expr: 'time() - infinitetalk_loop_last_pass_timestamp_seconds > 10 * infinitetalk_loop_period_seconds + 60',
    summary:
      'The loop {{ $labels.loop }} of {{ $labels.job }} has not come round for {{ $value }} s.',
    fires: [
      {
        why: '390 s for a loop of 30 s',
        at: '7m',
        series: {
          [loop('loop_last_pass_timestamp_seconds')]: '30x10',
          [loop('loop_period_seconds')]: '30x10',
        },
      },
    ],
    quiet: [
      {
        why: '345 s for a loop of 30 s',
        at: '6m',
        series: {
          [loop('loop_last_pass_timestamp_seconds')]: '15x10',
          [loop('loop_period_seconds')]: '30x10',
        },
      },
    ],
  },
  {
    name: 'RestartLoop',
    severity: 'ticket',
    expr: 'changes(infinitetalk_process_start_timestamp_seconds[15m]) > 3',
    summary:
      '{{ $labels.job }} ({{ $labels.instance }}) has started {{ $value }} times in 15 minutes.',
    fires: [
      {
        why: 'five starts',
        at: '12m',
        series: {
          'infinitetalk_process_start_timestamp_seconds{job="ingest"}': '1x2 2x1 3x1 4x1 5x1 6x5',
        },
      },
    ],
    quiet: [
      {
        why: 'three starts, as a deployment with two corrections makes them',
        at: '12m',
        series: {
          'infinitetalk_process_start_timestamp_seconds{job="ingest"}': '1x2 2x1 3x1 4x10',
        },
      },
    ],
  },
  {
    name: 'MetricsMissing',
    severity: 'ticket',
    for: '10m',
    expr: [
      '(up{job=~"ingest|orchestrator|janitor"} == 1 unless on (job, instance) infinitetalk_build_info)',
      '(up{job="orchestrator"} == 1 unless on (job, instance) infinitetalk_jobs)',
    ].join(' or '),
    summary:
      '{{ $labels.job }} ({{ $labels.instance }}) answers scrapes without our metrics: its alerts are blind.',
    fires: [
      {
        why: 'a page without any of them',
        at: '12m',
        series: { 'up{job="ingest",instance="a"}': '1x15' },
      },
      {
        why: 'the orchestrator does not know the jobs',
        at: '12m',
        series: {
          'up{job="orchestrator",instance="a"}': '1x15',
          'infinitetalk_build_info{job="orchestrator",instance="a"}': '1x15',
        },
      },
    ],
    quiet: [
      {
        why: 'both are told',
        at: '12m',
        series: {
          'up{job="orchestrator",instance="a"}': '1x15',
          'infinitetalk_build_info{job="orchestrator",instance="a"}': '1x15',
          'infinitetalk_jobs{job="orchestrator",instance="a",state="queued"}': '0x15',
        },
      },
      {
        why: 'a service that is down is told by another alert',
        at: '12m',
        series: { 'up{job="ingest",instance="a"}': '0x15' },
      },
    ],
  },
  {
    name: 'ScrapeErrors',
    severity: 'ticket',
    expr: 'increase(infinitetalk_scrape_errors_total[15m]) > 0',
    summary: '{{ $labels.job }} could not read one of its own metrics.',
    fires: [
      {
        why: 'one',
        at: '8m',
        series: { 'infinitetalk_scrape_errors_total{job="ingest"}': '0x5 1x5' },
      },
    ],
    quiet: [
      {
        why: 'long ago',
        at: '20m',
        series: { 'infinitetalk_scrape_errors_total{job="ingest"}': '3x20' },
      },
    ],
  },
] as const satisfies readonly Alert[]
