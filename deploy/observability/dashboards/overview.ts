import { board } from './board.ts'
import { hourly, partWithin, promises, quantiles, toldOnce } from './expressions.ts'
import { figure, graph } from './panels.ts'

/** Is all well, and if not, where? */
export const overview = board({
  uid: 'avatar-overview',
  title: 'Avatar: overview',
  description: 'Is all well? Eight figures, then jobs, promises and services.',
  asks: ['prometheus'],
  from: 'now-6h',
  rows: {
    Now: [
      figure({
        title: 'API',
        description: 'Whether the REST door answers Prometheus, at least one replica of it.',
        unit: 'none',
        ask: { up: 'max(up{job="ingest"})' },
        words: { 0: 'down', 1: 'up' },
        limit: { below: 1 },
      }),
      figure({
        title: 'Waiting',
        description: 'Jobs that wait for a worker.',
        unit: 'none',
        ask: { queued: 'max(infinitetalk_jobs{state="queued"})' },
      }),
      figure({
        title: 'Oldest',
        description: 'How long the oldest of them has waited. Above 15 minutes somebody is told.',
        unit: 's',
        ask: { oldest: 'max(infinitetalk_queue_oldest_seconds)' },
        limit: { above: [120, 900] },
      }),
      figure({
        title: 'Workers',
        description: 'Workers whose engine is loaded: they render, or could.',
        unit: 'none',
        ask: {
          loaded: `sum(${toldOnce('infinitetalk_workers{state=~"ready|rendering"}', 'state')})`,
        },
        limit: { below: 1 },
      }),
      figure({
        title: 'Cost today',
        description: 'What the service has spent since midnight UTC, by the ledger.',
        unit: 'currencyUSD',
        ask: { today: 'max(infinitetalk_cost_usd{period="day"})' },
        limit: { above: [5, 10] },
        otherwise: 'no price is set',
      }),
      figure({
        title: 'Failed jobs',
        description: 'The part of the jobs of the last hour that failed and not by their callers.',
        unit: 'percentunit',
        ask: { failed: 'max(slo:jobs_failed:ratio_rate1h)' },
        limit: { above: [0.01, 0.05] },
        otherwise: 'no job ended',
      }),
      figure({
        title: 'API errors',
        description: 'The part of the requests of the last hour that was answered by a 5xx.',
        unit: 'percentunit',
        ask: { errors: 'max(slo:api_errors:ratio_rate1h)' },
        limit: { above: [0.001, 0.0144] },
        otherwise: 'no request came',
      }),
      figure({
        title: 'Dead letters',
        description: 'Messages that nobody could handle, and that somebody has to look at.',
        unit: 'none',
        ask: { letters: 'max(infinitetalk_stream_messages{stream="DLQ"})' },
        limit: { above: [1] },
      }),
    ],
    Jobs: [
      graph({
        title: 'Jobs that ended',
        description: 'Per hour, by how they ended.',
        unit: 'none',
        ask: { '{{outcome}}': hourly('infinitetalk_jobs_finished_total', 'outcome') },
        isStacked: true,
      }),
      graph({
        title: 'Why jobs failed',
        description: 'Per hour, by code and by whom the failure table blames. Ours are `us`.',
        unit: 'none',
        ask: {
          '{{blame}}: {{code}}': `${hourly('infinitetalk_jobs_finished_total{outcome="failed"}', 'blame, code')} > 0`,
        },
        isStacked: true,
      }),
      graph({
        title: 'Unfinished jobs',
        description: 'Where the jobs stand that have not ended.',
        unit: 'none',
        ask: { '{{state}}': toldOnce('infinitetalk_jobs', 'state') },
        isStacked: true,
      }),
      graph({
        title: 'Generation time',
        description: 'From the first forward pass to the last frame. P95 is to stay below 180 s.',
        unit: 's',
        ask: quantiles('infinitetalk_render_duration_seconds_bucket', [0.5, 0.95, 0.99]),
        limit: { above: [promises.generatedWithinSeconds] },
      }),
      graph({
        title: 'Wait in the queue',
        description:
          'P95 from queued to claimed. `cold`: no worker was loaded when the job was queued. ' +
          'Warm jobs are to start within 30 s.',
        unit: 's',
        ask: quantiles('infinitetalk_queue_wait_seconds_bucket', [0.95], ['start']),
        limit: { above: [promises.startedWithinSeconds] },
      }),
      graph({
        title: 'Accepted to completed',
        description: 'What the caller waited in all.',
        unit: 's',
        ask: quantiles(
          'infinitetalk_job_duration_seconds_bucket{outcome="completed"}',
          [0.5, 0.95],
        ),
      }),
      graph({
        title: 'Error of the estimates',
        description:
          'Half of the estimates were closer to the truth than this part of it: of the time of the ' +
          'render, and of the finish that was first promised.',
        unit: 'percentunit',
        ask: quantiles('infinitetalk_estimate_error_ratio_bucket', [0.5], ['of']),
        limit: { above: [0.5] },
      }),
      graph({
        title: 'Attempts that did not complete',
        description: 'Per hour. One that is lost or released is tried again.',
        unit: 'none',
        ask: {
          '{{outcome}}: {{code}}': `${hourly('infinitetalk_attempts_ended_total{outcome!="completed"}', 'outcome, code')} > 0`,
        },
        isStacked: true,
      }),
      graph({
        title: 'Storing',
        description: 'From the last frame to completed: encoding, upload and verification.',
        unit: 's',
        ask: quantiles('infinitetalk_store_duration_seconds_bucket', [0.5, 0.95]),
      }),
      graph({
        title: 'Deletion',
        description: "How long after the end of their retention jobs' media were deleted.",
        unit: 's',
        ask: quantiles('infinitetalk_deletion_lateness_seconds_bucket', [0.5, 0.99]),
        limit: { above: [promises.deletedWithinSeconds] },
      }),
      graph({
        title: 'Repairs',
        description:
          'Per hour: what was published again, dropped, or refused because the time was in doubt. ' +
          'All 0 in good times.',
        unit: 'none',
        ask: {
          'published again: {{reason}}': hourly('infinitetalk_publish_retries_total', 'reason'),
          'spans dropped': hourly('infinitetalk_spans_dropped_total', 'job'),
          'deletions refused': hourly('infinitetalk_deletions_refused_total', 'job'),
          'metrics not read': hourly('infinitetalk_scrape_errors_total', 'job'),
        },
      }),
      graph({
        title: 'Streams',
        description: 'What the broker keeps, by stream.',
        unit: 'bytes',
        ask: { '{{stream}}': toldOnce('infinitetalk_stream_bytes', 'stream') },
      }),
    ],
    'Promises, over the time that is shown': [
      figure({
        title: 'API available',
        description: 'Requests without event streams that no 5xx answered. Promised: 99.9 %.',
        unit: 'percentunit',
        decimals: 2,
        width: 4,
        ask: {
          available: `1 - sum(increase(infinitetalk_http_request_duration_seconds_count{route!="/events/:job_id",status=~"5.."}[$__range]) or vector(0))
            / sum(increase(infinitetalk_http_request_duration_seconds_count{route!="/events/:job_id"}[$__range]))`,
        },
        limit: { below: promises.apiAvailable },
      }),
      figure({
        title: 'Jobs that succeeded',
        description:
          "Completed among ended, callers' failures and cancels left out. Promised: 99 %.",
        unit: 'percentunit',
        decimals: 2,
        width: 5,
        ask: {
          succeeded: `sum(increase(infinitetalk_jobs_finished_total{outcome="completed"}[$__range]))
            / sum(increase(infinitetalk_jobs_finished_total{outcome=~"completed|failed",blame!="caller"}[$__range]))`,
        },
        limit: { below: promises.jobsSucceed },
        otherwise: 'no job ended',
      }),
      figure({
        title: 'Started within 30 s',
        description: 'Of jobs that found a loaded worker. Promised: 95 %.',
        unit: 'percentunit',
        decimals: 1,
        width: 5,
        ask: {
          started: partWithin(
            'infinitetalk_queue_wait_seconds',
            promises.startedWithinSeconds,
            'start="warm"',
          ),
        },
        limit: { below: promises.inTime },
        otherwise: 'no job started',
      }),
      figure({
        title: 'Generated within 180 s',
        description: 'Of delivered videos. Promised: 95 %.',
        unit: 'percentunit',
        decimals: 1,
        width: 5,
        ask: {
          generated: partWithin(
            'infinitetalk_render_duration_seconds',
            promises.generatedWithinSeconds,
          ),
        },
        limit: { below: promises.inTime },
        otherwise: 'no video was made',
      }),
      figure({
        title: 'Deleted within 15 min',
        description: 'Of jobs whose retention ended. Promised: all.',
        unit: 'percentunit',
        decimals: 2,
        width: 5,
        ask: {
          deleted: partWithin(
            'infinitetalk_deletion_lateness_seconds',
            promises.deletedWithinSeconds,
          ),
        },
        limit: { below: 1 },
        otherwise: 'nothing was due',
      }),
    ],
    Services: [
      graph({
        title: 'Dependencies',
        description: '1 while the broker, or the store, answers the service; 0 while it does not.',
        unit: 'none',
        max: 1,
        ask: { '{{job}}: {{dependency}}': 'min by (job, dependency) (infinitetalk_dependency_up)' },
        limit: { below: 1 },
      }),
      graph({
        title: 'Memory',
        description: 'Resident memory of each process.',
        unit: 'bytes',
        ask: { '{{job}} {{instance}}': 'infinitetalk_process_resident_memory_bytes' },
      }),
      graph({
        title: 'Event loop',
        description: 'P99 of how late the event loop turned. Above 100 ms answers get slow.',
        unit: 's',
        ask: { '{{job}} {{instance}}': 'infinitetalk_event_loop_delay_seconds' },
        limit: { above: [0.1] },
      }),
      graph({
        title: 'Messages before consumers',
        description: 'Not delivered yet, and delivered without an acknowledgement.',
        unit: 'none',
        ask: {
          '{{consumer}} pending': toldOnce('infinitetalk_consumer_pending', 'consumer'),
          '{{consumer}} in hand': toldOnce('infinitetalk_consumer_ack_pending', 'consumer'),
        },
      }),
      graph({
        title: 'Warnings and errors',
        description: 'Lines of the log per hour. What they say stands in Loki.',
        unit: 'none',
        ask: {
          '{{job}}: {{level}}': hourly(
            'infinitetalk_log_lines_total{level=~"warn|error|fatal"}',
            'job, level',
          ),
        },
        isStacked: true,
      }),
      graph({
        title: 'Loops',
        description: 'Periods since each loop last came round. A stuck one is restarted after 10.',
        unit: 'none',
        decimals: 1,
        ask: {
          '{{job}}: {{loop}}':
            '(time() - infinitetalk_loop_last_pass_timestamp_seconds) / infinitetalk_loop_period_seconds',
        },
        limit: { above: [10] },
      }),
      graph({
        title: 'Free disk',
        description: 'Free part of the spools. Below 10 % uploads will be refused soon.',
        unit: 'percentunit',
        max: 1,
        ask: { '{{volume}} {{worker}}': 'min by (volume, worker) (infinitetalk_disk_free_ratio)' },
        limit: { below: 0.1 },
      }),
      graph({
        title: 'Clocks',
        description: "How far each machine's clock is ahead of the broker's.",
        unit: 's',
        hasNegatives: true,
        ask: { '{{job}} {{instance}}': 'infinitetalk_clock_ahead_seconds' },
        limit: { above: [60] },
      }),
      graph({
        title: 'Age of the processes',
        description: 'A saw with short teeth is a process that dies again and again.',
        unit: 's',
        ask: { '{{job}} {{instance}}': 'time() - infinitetalk_process_start_timestamp_seconds' },
      }),
    ],
  },
})
