import { board } from './board.ts'
import { hourly, promises, quantileOfSpan, quantiles } from './expressions.ts'
import { graph } from './panels.ts'

const requests = 'infinitetalk_http_request_duration_seconds'
/** The windows of the alerts: the first pages within minutes, the last opens a ticket after days. */
const windows = ['5m', '30m', '1h', '6h', '1d', '3d']

const burnRate = (ratio: string, promised: number) =>
  Object.fromEntries(
    windows.map((window) => [
      window,
      `max(${ratio}${window}) / ${Number((1 - promised).toFixed(6))}`,
    ]),
  )

/** Who asks what, how quickly is it answered, and what is refused? */
export const api = board({
  uid: 'avatar-api',
  title: 'Avatar: API',
  description: 'Who asks what, how quickly is it answered, and what is refused?',
  asks: ['prometheus'],
  from: 'now-3h',
  rows: {
    Requests: [
      graph({
        title: 'Requests',
        description: 'Per second, by route. Event streams last, and are counted below.',
        unit: 'reqps',
        ask: {
          '{{method}} {{route}}': `sum by (method, route) (rate(${requests}_count[$__rate_interval]))`,
        },
        isStacked: true,
      }),
      graph({
        title: 'Answers',
        description: 'Per second, by status. A 4xx is the caller’s, a 5xx is ours.',
        unit: 'reqps',
        ask: { '{{status}}': `sum by (status) (rate(${requests}_count[$__rate_interval]))` },
        isStacked: true,
      }),
      graph({
        title: 'Time to answer',
        description: 'P95 by route. That of `/generate` holds the upload.',
        unit: 's',
        ask: quantiles(`${requests}_bucket`, [0.95], ['route']),
      }),
      graph({
        title: 'Keys',
        description: 'Requests per second of the ten owners who ask most.',
        unit: 'reqps',
        ask: {
          '{{owner}}':
            'topk(10, sum by (owner) (rate(infinitetalk_owner_requests_total[$__rate_interval])))',
        },
      }),
      graph({
        title: 'Event streams',
        description: 'Streams that are open. Each holds a connection for as long as its job takes.',
        unit: 'none',
        ask: { open: 'sum(infinitetalk_event_streams)' },
      }),
      graph({
        title: 'One submission, and its trace',
        description:
          'P95 of the spans `POST /generate`, as Tempo counts them. Each dot is one request: it opens ' +
          'the trace.',
        unit: 's',
        ask: { 'P95 POST /generate': quantileOfSpan('POST /generate') },
        hasExemplars: true,
      }),
    ],
    Submissions: [
      graph({
        title: 'Accepted',
        description: 'New jobs per hour, by the door they came through.',
        unit: 'none',
        ask: { '{{door}}': hourly('infinitetalk_jobs_accepted_total', 'door') },
        isStacked: true,
      }),
      graph({
        title: 'Refused',
        description: 'Submissions per hour that became no job. Those that blame `us` are errors.',
        unit: 'none',
        ask: {
          '{{door}}, {{blame}}: {{code}}': `${hourly('infinitetalk_submissions_refused_total', 'door, blame, code')} > 0`,
        },
        isStacked: true,
      }),
      graph({
        title: 'Time to submit',
        description: 'From spooled inputs to an announced job: checks, store and broker.',
        unit: 's',
        ask: quantiles('infinitetalk_submit_duration_seconds_bucket', [0.5, 0.95], ['door']),
      }),
    ],
    'Error budgets of 30 days': [
      graph({
        title: 'API: how fast the budget burns',
        description:
          'At 1 the errors that 30 days allow take 30 days. 14.4 for an hour wakes somebody, so does 6 ' +
          'for six; 1 for three days is a ticket.',
        unit: 'none',
        width: 12,
        decimals: 1,
        ask: burnRate('slo:api_errors:ratio_rate', promises.apiAvailable),
        limit: { above: [1, 6, 14.4] },
      }),
      graph({
        title: 'Jobs: how fast the budget burns',
        description: 'The same for jobs that failed and not by their callers.',
        unit: 'none',
        width: 12,
        decimals: 1,
        ask: burnRate('slo:jobs_failed:ratio_rate', promises.jobsSucceed),
        limit: { above: [1, 6, 14.4] },
      }),
    ],
  },
})
