import type { Alert } from './alert.ts'

const gpu = (name: string) => `infinitetalk_${name}{job="orchestrator",worker="w1",gpu="0"}`
const info = 'infinitetalk_worker_info{job="orchestrator",worker="w1"}'
const disk = 'infinitetalk_disk_free_ratio{job="ingest",volume="spool",worker=""}'
const stalled = 'infinitetalk_render_stalled_seconds{job="orchestrator",worker="w1"}'
const loading =
  'infinitetalk_worker_loading_seconds{job="orchestrator",worker="w1",stage="weights"}'
const lost = 'infinitetalk_attempts_ended_total{outcome="lost",code="WORKER_LOST",blame="us"}'
/** A worker that has gone has no `worker_info`; replicas of the orchestrator tell the same. */
const ofWorkers = 'and on (worker) infinitetalk_worker_info'

/** Workers, their GPUs, and disks. */
export const machineAlerts = [
  {
    name: 'RenderStalled',
    severity: 'ticket',
    expr: 'max by (worker) (infinitetalk_render_stalled_seconds) > 300',
    summary:
      'The render on {{ $labels.worker }} has not moved for {{ $value | humanizeDuration }}.',
    fires: [{ why: 'seven minutes', at: '3m', series: { [stalled]: '420x5' } }],
    quiet: [{ why: 'four minutes', at: '3m', series: { [stalled]: '240x5' } }],
  },
  {
    name: 'WorkerLost',
    severity: 'ticket',
    expr: 'sum(increase(infinitetalk_attempts_ended_total{outcome="lost"}[15m])) > 0',
    summary: 'A worker stopped answering in the middle of a job; the job was given to another.',
    fires: [{ why: 'the first', at: '8m', series: { [lost]: '0x5 1x10' } }],
    quiet: [
      { why: 'long ago', at: '8m', series: { [lost]: '4x15' } },
      {
        why: 'an attempt was released in order',
        at: '8m',
        series: {
          'infinitetalk_attempts_ended_total{outcome="released",code="none",blame="none"}':
            '0x5 1x10',
        },
      },
    ],
  },
  {
    name: 'EngineNotLoading',
    severity: 'page',
    expr: 'max by (worker, stage) (infinitetalk_worker_loading_seconds) > 1200',
    summary:
      '{{ $labels.worker }} has been loading its engine for {{ $value | humanizeDuration }}, now {{ $labels.stage }}.',
    fires: [{ why: 'half an hour', at: '3m', series: { [loading]: '1800x5' } }],
    quiet: [{ why: 'a quarter of an hour', at: '3m', series: { [loading]: '900x5' } }],
  },
  {
    name: 'GpuUtilizationHigh',
    severity: 'info',
    for: '5m',
    expr: `max by (worker, gpu) (avg_over_time(infinitetalk_gpu_utilization_ratio[15m])) > 0.8 ${ofWorkers}`,
    summary:
      'GPU {{ $labels.gpu }} of {{ $labels.worker }} is busy for {{ $value | humanizePercentage }} of the time.',
    fires: [
      {
        why: '95 %',
        at: '20m',
        series: { [gpu('gpu_utilization_ratio')]: '0.95x25', [info]: '1x25' },
      },
    ],
    quiet: [
      {
        why: '70 %',
        at: '20m',
        series: { [gpu('gpu_utilization_ratio')]: '0.7x25', [info]: '1x25' },
      },
      {
        why: 'the worker has gone',
        at: '20m',
        series: { [gpu('gpu_utilization_ratio')]: '0.95x25' },
      },
    ],
  },
  {
    name: 'GpuSaturated',
    severity: 'ticket',
    for: '15m',
    expr: `max by (worker, gpu) (avg_over_time(infinitetalk_gpu_utilization_ratio[30m])) > 0.9 ${ofWorkers}`,
    summary:
      'GPU {{ $labels.gpu }} of {{ $labels.worker }} has been full for half an hour. A loaded model is meant to be busy: more workers may pay.',
    fires: [
      {
        why: '97 %',
        at: '40m',
        series: { [gpu('gpu_utilization_ratio')]: '0.97x45', [info]: '1x45' },
      },
    ],
    quiet: [
      {
        why: '85 %',
        at: '40m',
        series: { [gpu('gpu_utilization_ratio')]: '0.85x45', [info]: '1x45' },
      },
      {
        why: 'the worker has gone',
        at: '40m',
        series: { [gpu('gpu_utilization_ratio')]: '0.97x45' },
      },
    ],
  },
  {
    name: 'GpuHot',
    severity: 'ticket',
    for: '5m',
    expr: `max by (worker, gpu) (infinitetalk_gpu_temperature_celsius) > 85 ${ofWorkers}`,
    summary: 'GPU {{ $labels.gpu }} of {{ $labels.worker }} is at {{ $value }} °C.',
    fires: [
      {
        why: '92 °C',
        at: '8m',
        series: { [gpu('gpu_temperature_celsius')]: '92x10', [info]: '1x10' },
      },
    ],
    quiet: [
      {
        why: '80 °C',
        at: '8m',
        series: { [gpu('gpu_temperature_celsius')]: '80x10', [info]: '1x10' },
      },
    ],
  },
  {
    name: 'DiskNearlyFull',
    severity: 'ticket',
    for: '5m',
    expr: 'min by (volume, worker) (infinitetalk_disk_free_ratio) < 0.2',
    summary:
      'Only {{ $value | humanizePercentage }} of {{ $labels.volume }} {{ $labels.worker }} are free.',
    fires: [{ why: '15 %', at: '8m', series: { [disk]: '0.15x10' } }],
    quiet: [{ why: '30 %', at: '8m', series: { [disk]: '0.3x10' } }],
  },
  {
    name: 'DiskFull',
    severity: 'page',
    for: '1m',
    expr: 'min by (volume, worker) (infinitetalk_disk_free_ratio) < 0.1',
    summary:
      'Only {{ $value | humanizePercentage }} of {{ $labels.volume }} {{ $labels.worker }} are free.',
    fires: [{ why: '7 %', at: '3m', series: { [disk]: '0.07x5' } }],
    quiet: [{ why: '15 %', at: '3m', series: { [disk]: '0.15x5' } }],
  },
] as const satisfies readonly Alert[]
