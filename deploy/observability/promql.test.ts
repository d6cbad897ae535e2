import { expect, it } from 'vitest'
import { problemsOf, selectorsOf } from './promql.ts'

it('finds every selector with its matchers', () => {
  const expression =
    'sum by (code) (increase(infinitetalk_jobs_finished_total{outcome="failed",blame!~"a|b"}[15m])) unless on (job) up > 5'
  expect(selectorsOf(expression)).toEqual([
    {
      metric: 'infinitetalk_jobs_finished_total',
      text: 'infinitetalk_jobs_finished_total{outcome="failed",blame!~"a|b"}',
      matchers: [
        { label: 'outcome', operator: '=', value: 'failed' },
        { label: 'blame', operator: '!~', value: 'a|b' },
      ],
    },
    { metric: 'up', text: 'up', matchers: [] },
  ])
})

it.each([
  'sum(rate(infinitetalk_render_duration_seconds_bucket{engine="$engine"}[$__rate_interval])) by (le)',
  'infinitetalk_jobs{state=~"queued|rendering"}',
  'up{job="ingest"} == 0 or absent(up{job="ingest"})',
  'max by (worker) (infinitetalk_gpu_utilization_ratio) and on (worker) infinitetalk_worker_info',
  'slo:recorded > 1',
])('has nothing against %s', (expression) => {
  expect(problemsOf(expression, ['slo:recorded'])).toEqual([])
})

it.each([
  ['infinitetalk_job', /No series "infinitetalk_job"/],
  ['slo:unknown', /No series/],
  ['infinitetalk_jobs_bucket', /No series/],
  ['infinitetalk_render_duration_seconds', /No series/],
  ['infinitetalk_jobs{status="queued"}', /has no label "status"/],
  ['infinitetalk_jobs{state="waiting"}', /No state of infinitetalk_jobs is "waiting"/],
  ['infinitetalk_jobs{state=~"wait.*"}', /No state/],
  ['infinitetalk_jobs_finished_total{code="NO_SUCH"}', /No code/],
  ['infinitetalk_jobs{job="ingest"}', /No job of infinitetalk_jobs is "ingest"/],
  ['up{job="sidecar"}', /No job of up/],
  ['sum by (owners) (infinitetalk_owner_requests_total)', /No label "owners"/],
  ['sum(rate(infinitetalk_jobs_accepted_total[5m])', /No PromQL/],
  ['', /No PromQL/],
])('finds what is wrong with %s', (expression, problem) => {
  expect(problemsOf(expression)).toEqual([expect.stringMatching(problem)])
})
