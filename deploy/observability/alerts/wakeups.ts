import type { Alert } from './alert.ts'

const oldest = 'infinitetalk_queue_oldest_seconds{job="orchestrator"}'
const wakeups = (outcome: string) =>
  `infinitetalk_wakeups_total{job="orchestrator",provider="runpod",outcome="${outcome}"}`
const endpoint = 'infinitetalk_endpoint_max_workers{job="orchestrator",provider="runpod"}'

/** Whether workers come when they are asked for. */
export const wakeupAlerts = [
  {
    name: 'WakeupFailing',
    severity: 'page',
    // `increase` stretches what it sees to the whole window, so three may look like a little less.
    expr:
      'sum(increase(infinitetalk_wakeups_total{outcome=~"away|not-allowed|no-credit|lost"}[15m])) > 2.5' +
      ' and max(infinitetalk_queue_oldest_seconds) > 0',
    summary:
      'Workers were asked for {{ $value | printf "%.0f" }} times within 15 minutes, and none came; jobs wait.',
    fires: [
      {
        why: 'four refusals while a job waits',
        at: '15m',
        series: { [wakeups('away')]: '0x10 1 2 3 4 4 4', [oldest]: '300x20' },
      },
      {
        why: 'two refusals, and nobody came twice',
        at: '15m',
        series: {
          [wakeups('no-credit')]: '0x10 1 2 2 2 2 2',
          [wakeups('lost')]: '0x10 1 2 2 2 2 2',
          [oldest]: '300x20',
        },
      },
    ],
    quiet: [
      {
        why: 'two refusals',
        at: '15m',
        series: { [wakeups('away')]: '0x10 1 2 2 2 2 2', [oldest]: '300x20' },
      },
      {
        why: 'no job waits any more',
        at: '15m',
        series: { [wakeups('away')]: '0x10 1 2 3 4 4 4', [oldest]: '0x20' },
      },
      {
        why: 'they are taken',
        at: '15m',
        series: { [wakeups('rung')]: '0x10 1 2 3 4 5 6', [oldest]: '300x20' },
      },
    ],
  },
  {
    name: 'EndpointScaledToZero',
    severity: 'page',
    expr: 'min_over_time(infinitetalk_endpoint_max_workers[5m]) == 0',
    summary:
      '{{ $labels.provider }} has set the endpoint to no workers. The orchestrator raises it again.',
    fires: [{ why: 'it was 0 a minute ago', at: '10m', series: { [endpoint]: '5x7 0 0 5x5' } }],
    quiet: [
      { why: 'it was 0 an hour ago', at: '70m', series: { [endpoint]: '5 0 5x80' } },
      { why: 'there is no such provider', at: '10m', series: { [oldest]: '300x20' } },
    ],
  },
] as const satisfies readonly Alert[]
