import { expect, it } from 'vitest'
import {
  type DashboardJson,
  type PanelJson,
  problemsOfDashboard,
  type TargetJson,
} from './dashboard-rules.ts'

/** As Grafana writes a variable. */
const variable = (name: string) => `\${${name}}`
const prometheus = { type: 'prometheus', uid: variable('prometheus') }
const variables = ['prometheus', 'loki', 'tempo'].map((name) => ({ type: 'datasource', name }))

const target = (changes: TargetJson = {}): TargetJson => ({
  refId: 'A',
  datasource: prometheus,
  expr: 'sum(rate(infinitetalk_jobs_accepted_total[$__rate_interval]))',
  legendFormat: 'accepted',
  ...changes,
})

const panel = (changes: Partial<PanelJson> = {}): PanelJson => ({
  type: 'timeseries',
  id: 1,
  title: 'Accepted',
  description: 'New jobs.',
  datasource: prometheus,
  gridPos: { x: 0, y: 0, w: 8, h: 8 },
  fieldConfig: { defaults: { unit: 'none' } },
  options: { legend: { showLegend: true } },
  targets: [target()],
  ...changes,
})

const board = (...panels: PanelJson[]): DashboardJson => ({
  templating: { list: variables },
  panels,
})
const asking = (changes: TargetJson) => board(panel({ targets: [target(changes)] }))
const elsewhere = { gridPos: { x: 8, y: 0, w: 8, h: 8 } }
const loki = (expr: string) => asking({ datasource: { type: 'loki', uid: variable('loki') }, expr })
const tempo = (query: string) =>
  asking({ datasource: { type: 'tempo', uid: variable('tempo') }, query })

it.each([
  ['a panel in order', board(panel())],
  ['two side by side', board(panel(), panel({ id: 2, ...elsewhere }))],
  ['a figure for the whole time', asking({ expr: increase('$__range'), instant: true })],
  ['a gauge without a window', asking({ expr: 'infinitetalk_jobs' })],
  ['a gauge over a time', asking({ expr: overTime('$__range'), instant: true })],
  ['a recorded series', asking({ expr: 'slo:known > 1' })],
  ['lines of a job', loki('{service=~".+"} | jobId="$job_id"')],
  ['lines that are counted', loki('sum by (level) (count_over_time({service="x"} [$__auto]))')],
  ['spans of a job', tempo('{ span.avatar.job.id = "$job_id" && status = error }')],
])('has nothing against %s', (_, dashboard) => {
  expect(problemsOfDashboard(dashboard, ['slo:known'])).toEqual([])
})

it.each([
  ['no number', board(panel({ id: 0 })), /number 0/],
  ['a number twice', board(panel(), panel(elsewhere)), /number 1 is missing or taken/],
  ['panels on top of each other', board(panel(), panel({ id: 2, title: 'B' })), /lies over "B"/],
  ['a panel that is too wide', board(panel({ gridPos: { x: 20, y: 0, w: 8, h: 8 } })), /wider/],
  ['no title', board(panel({ title: '' })), /no title/],
  ['no description', board(panel({ description: '' })), /no description/],
  ['no unit', board(panel({ fieldConfig: {} })), /no unit/],
  ['a hidden legend', board(panel({ options: { legend: { showLegend: false } } })), /hidden/],
  ['a query without a legend', asking({ legendFormat: '' }), /A has no legend/],
  ['no query', board(panel({ targets: [] })), /asks nothing/],
  ['a fixed datasource', board(panel({ datasource: { uid: 'prometheus' } })), /no variable/],
  ['one of a query', asking({ datasource: { ...prometheus, uid: 'abc' } }), /A is no variable/],
  [
    'one without a variable',
    asking({ datasource: { ...prometheus, uid: variable('x') } }),
    /variable/,
  ],
  ['no PromQL', asking({ expr: 'sum(infinitetalk_jobs' }), /No PromQL/],
  ['an unknown metric', asking({ expr: 'infinitetalk_job' }), /No series/],
  ['an unknown label', asking({ expr: 'infinitetalk_jobs{status="queued"}' }), /no label "status"/],
  ['an unknown value', asking({ expr: 'infinitetalk_jobs{state="waiting"}' }), /No state/],
  ['a fixed window', asking({ expr: increase('5m') }), /looks at \[5m\]/],
  ['one as long as the graph', asking({ expr: increase('$__range') }), /at \[\$__range\]/],
  ['a bare counter', asking({ expr: 'infinitetalk_jobs_accepted_total' }), /is a counter/],
  [
    'a counter that is summed before its rate',
    asking({ expr: 'max_over_time(infinitetalk_jobs_accepted_total[$__rate_interval])' }),
    /is a counter/,
  ],
  ['no LogQL', loki('{service=~".+"} | jobId='), /no LogQL/],
  ['an unknown label of lines', loki('{app="x"}'), /no line has "app"/],
  ['no TraceQL', tempo('{ span.avatar.job.id = '), /no TraceQL/],
  ['an unknown attribute', tempo('{ span.job = "x" }'), /no span has "job"/],
  [
    'an unknown datasource',
    asking({ datasource: { type: 'x', uid: variable('loki') } }),
    /nobody knows/,
  ],
])('finds %s', (_, dashboard, problem) => {
  expect(problemsOfDashboard(dashboard, [])).toContainEqual(expect.stringMatching(problem))
})

function increase(window: string): string {
  return `sum(increase(infinitetalk_jobs_accepted_total[${window}]))`
}

function overTime(window: string): string {
  return `sum(avg_over_time(infinitetalk_workers[${window}]))`
}
