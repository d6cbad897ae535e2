import { spanNames } from '@avatar/contracts'
import { board } from './board.ts'
import { hourly, promises, quantileOfSpan, quantiles, toldOnce } from './expressions.ts'
import { graph, table } from './panels.ts'

const byDevice = 'worker, gpu'
const device = '{{worker}} {{gpu}}'

/** Who renders, how fast, and are the devices well? */
export const gpuWorkers = board({
  uid: 'avatar-gpu-workers',
  title: 'Avatar: GPU workers',
  description: 'Who renders, how fast, and are the devices well?',
  asks: ['prometheus'],
  from: 'now-3h',
  rows: {
    'Who is there': [
      table({
        title: 'Workers',
        description:
          'Every worker that sends heartbeats. One that falls silent is gone within 35 s.',
        unit: 'none',
        ask: {
          worker: toldOnce('infinitetalk_worker_info', 'worker, engine, device, precision'),
        },
      }),
      graph({
        title: 'Workers by state',
        description: 'What they do. Without one that is ready or rendering, jobs wait.',
        unit: 'none',
        width: 12,
        ask: { '{{state}}': toldOnce('infinitetalk_workers', 'state') },
        isStacked: true,
      }),
      graph({
        title: 'Silence',
        description:
          'Since the last heartbeat. They come every 2 s; after 30 s the job is given up.',
        unit: 's',
        ask: { '{{worker}}': toldOnce('infinitetalk_worker_seen_seconds', 'worker') },
        limit: { above: [10, 30] },
      }),
      graph({
        title: 'Loading',
        description: 'How long a worker has been loading its engine, and the stage it is at.',
        unit: 's',
        ask: {
          '{{worker}}: {{stage}}': toldOnce('infinitetalk_worker_loading_seconds', 'worker, stage'),
        },
        limit: { above: [1200] },
      }),
      graph({
        title: 'Progress that stands still',
        description: 'Since the percent of the current render last moved.',
        unit: 's',
        ask: { '{{worker}}': toldOnce('infinitetalk_render_stalled_seconds', 'worker') },
        limit: { above: [300] },
      }),
    ],
    Devices: [
      graph({
        title: 'Utilisation',
        description:
          'Part of the time in which any kernel ran. For a model that stays loaded 90 % is health: it ' +
          'says that more workers may pay.',
        unit: 'percentunit',
        max: 1,
        ask: { [device]: toldOnce('infinitetalk_gpu_utilization_ratio', byDevice) },
        limit: { above: [0.8, 0.9] },
      }),
      graph({
        title: 'Memory',
        description: 'The part of the memory that is in use.',
        unit: 'percentunit',
        max: 1,
        ask: {
          [device]: `${toldOnce('infinitetalk_gpu_memory_used_bytes', byDevice)}
            / ${toldOnce('infinitetalk_gpu_memory_total_bytes', byDevice)}`,
        },
        limit: { above: [0.95] },
      }),
      graph({
        title: 'Temperature',
        description: 'Above 85 °C a device slows itself down.',
        unit: 'celsius',
        ask: { [device]: toldOnce('infinitetalk_gpu_temperature_celsius', byDevice) },
        limit: { above: [85] },
      }),
      graph({
        title: 'Power',
        description: 'What each device draws.',
        unit: 'watt',
        ask: { [device]: toldOnce('infinitetalk_gpu_power_watts', byDevice) },
      }),
      graph({
        title: 'Throttling',
        description: '1 while heat or power slows the device down.',
        unit: 'none',
        max: 1,
        ask: { [device]: toldOnce('infinitetalk_gpu_throttled', byDevice) },
        limit: { above: [1] },
      }),
      graph({
        title: 'Pace of the workers',
        description: 'Seconds that a worker takes for a second of video, as it expects itself.',
        unit: 's',
        ask: { '{{worker}}': toldOnce('infinitetalk_worker_pace_ratio', 'worker') },
      }),
    ],
    Renders: [
      graph({
        title: 'Pace of the renders',
        description: 'Seconds of rendering for a second of delivered video, by engine and size.',
        unit: 's',
        ask: quantiles('infinitetalk_render_pace_ratio_bucket', [0.5, 0.95], ['engine', 'size']),
      }),
      graph({
        title: 'Generation time',
        description: 'P95 by engine and size. It is to stay below 180 s.',
        unit: 's',
        ask: quantiles('infinitetalk_render_duration_seconds_bucket', [0.95], ['engine', 'size']),
        limit: { above: [promises.generatedWithinSeconds] },
      }),
      graph({
        title: 'Delivered video',
        description: 'Seconds of video per hour, by engine.',
        unit: 's',
        ask: { '{{engine}}': hourly('infinitetalk_video_seconds_total', 'engine') },
        isStacked: true,
      }),
      graph({
        title: 'One render, and its trace',
        description:
          'P95 of the spans `render`, as Tempo counts them. Each dot is one render: it opens the trace.',
        unit: 's',
        width: 24,
        ask: { 'P95 render': quantileOfSpan(spanNames.render) },
        hasExemplars: true,
      }),
    ],
    'Cold starts': [
      graph({
        title: 'Stages of a cold start',
        description: 'P95 of each stage, once for each life of a render process.',
        unit: 's',
        ask: quantiles('infinitetalk_worker_start_seconds_bucket', [0.95], ['stage']),
      }),
      graph({
        title: 'Cold starts',
        description:
          'Render processes that got ready, per hour. In good times one for each worker.',
        unit: 'none',
        ask: {
          started: hourly('infinitetalk_worker_start_seconds_count{stage="total"}', 'stage'),
        },
      }),
      graph({
        title: 'What that costs the caller',
        description:
          'From queued to claimed. `cold`: no worker was loaded when the job was queued.',
        unit: 's',
        ask: quantiles('infinitetalk_queue_wait_seconds_bucket', [0.5, 0.95], ['start']),
      }),
    ],
  },
})
