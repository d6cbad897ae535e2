/**
 * What every dashboard has to obey, held against its JSON: what Grafana would show as an empty panel, an
 * unlabelled curve or a wrong figure, and never as an error.
 */
import { metricName, metrics, spanAttributes } from '@avatar/contracts'
import { parser as logql } from '@grafana/lezer-logql'
import { parser as traceql } from '@grafana/lezer-traceql'
import type { Parser } from '@lezer/common'
import { parser as promql } from '@prometheus-io/lezer-promql'
import { problemsOf } from './promql.ts'

/** The fields of a dashboard that are looked at. */
export type DashboardJson = {
  readonly templating: { readonly list: readonly { type: string; name: string }[] }
  readonly panels: readonly PanelJson[]
}
type Reference = { readonly type?: string; readonly uid?: string }
export type PanelJson = {
  readonly type: string
  readonly id?: number
  readonly title?: string
  readonly description?: string
  readonly datasource?: Reference
  readonly gridPos: { x: number; y: number; w: number; h: number }
  readonly fieldConfig?: { defaults?: { unit?: string } }
  readonly options?: { legend?: { showLegend?: boolean } }
  readonly targets?: readonly TargetJson[]
}
export type TargetJson = {
  readonly refId?: string
  readonly datasource?: Reference
  readonly expr?: string
  readonly query?: string
  readonly legendFormat?: string
  readonly instant?: boolean
}

/** What is wrong with a dashboard, as sentences; empty when nothing is. */
export function problemsOfDashboard(
  { templating, panels }: DashboardJson,
  recorded: readonly string[],
): string[] {
  const variables = templating.list.map(({ name }) => name)
  return [
    ...panels.flatMap(({ id, title }, at) =>
      id && panels.findIndex((panel) => panel.id === id) === at
        ? []
        : [`${title}: its number ${id} is missing or taken.`],
    ),
    ...panels
      .filter(({ type }) => type !== 'row')
      .flatMap((panel) => problemsOfPanel(panel, variables, recorded))
      .concat(overlaps(panels)),
  ]
}

function problemsOfPanel(
  panel: PanelJson,
  variables: readonly string[],
  recorded: readonly string[],
): string[] {
  const { title, description, type, targets = [] } = panel
  const problems: string[] = []
  const demand = (isMet: unknown, sentence: string) => {
    if (!isMet) problems.push(`${title}: ${sentence}`)
  }
  const isVariable = ({ uid = '' }: Reference = {}) =>
    variables.some((name) => uid === `\${${name}}`)
  demand(title, 'it has no title.')
  demand(description, 'it has no description.')
  demand(panel.fieldConfig?.defaults?.unit, 'it has no unit.')
  demand(isVariable(panel.datasource), 'its datasource is no variable.')
  demand(targets.length > 0, 'it asks nothing.')
  if (type === 'timeseries') demand(panel.options?.legend?.showLegend, 'its legend is hidden.')
  for (const target of targets) {
    demand(isVariable(target.datasource), `the datasource of ${target.refId} is no variable.`)
    if (type === 'timeseries') demand(target.legendFormat, `${target.refId} has no legend.`)
    for (const problem of problemsOfTarget(target, recorded)) demand(false, problem)
  }
  return problems
}

function problemsOfTarget(target: TargetJson, recorded: readonly string[]): string[] {
  const { datasource, expr = '', query = '', instant = false } = target
  if (datasource?.type === 'prometheus')
    return [...problemsOf(expr, recorded), ...problemsOfWindows(expr, instant)]
  if (datasource?.type === 'loki') return problemsOfLogql(expr)
  if (datasource?.type === 'tempo') return problemsOfTraceql(query)
  return [`nobody knows the datasource "${datasource?.type}".`]
}

const fitted = '$__rate_interval'
/** Only where there is one answer for the whole time that is shown. */
const whole = '$__range'
const standIns: ReadonlyMap<string, string> = new Map([
  ['1001s', fitted],
  ['1002s', whole],
])
const counted = new Set(
  Object.entries(metrics).flatMap(([key, { type }]) => {
    const name = metricName(key as keyof typeof metrics) // entries() forgets the keys.
    if (type === 'counter') return [name]
    return type === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => name + end) : []
  }),
)

/**
 * A counter says something only by its increase. The window under it is Grafana's, because a fixed one is
 * empty at a slower scrape and skips samples when one zooms out.
 */
function problemsOfWindows(expression: string, isInstant: boolean): string[] {
  const text = [...standIns].reduce(
    (changed, [standIn, variable]) => changed.replaceAll(variable, standIn),
    expression,
  )
  const problems: string[] = []
  let call = ''
  let window = ''
  promql.parse(text).iterate({
    enter(node) {
      const here = text.slice(node.from, node.to)
      if (node.name === 'FunctionIdentifier') call = here
      if (node.name === 'MatrixSelector') {
        window = here.slice(here.lastIndexOf('[') + 1, -1)
        window = standIns.get(window) ?? window
        const isAllowed = window === fitted || (isInstant && window === whole)
        if (!isAllowed) problems.push(`${call} looks at [${window}] instead of [${fitted}].`)
      }
      if (node.name === 'Identifier' && node.matchContext(['VectorSelector']) && counted.has(here))
        if (!window || !/^(rate|increase)$/.test(call))
          problems.push(`${here} is a counter and stands under no rate or increase.`)
    },
    leave(node) {
      if (node.name === 'MatrixSelector') window = ''
    },
  })
  return problems
}

/** Labels of streams, and metadata of lines, as the collector of lines sets them. */
const labelsOfLines = new Set(['service', 'level', 'jobId', 'traceId', 'workerId'])

function problemsOfLogql(expression: string): string[] {
  const text = expression.replaceAll('$__auto', '5m')
  const { isBroken, found } = identifiers(logql, text)
  if (isBroken) return [`no LogQL: ${expression}`]
  return found
    .filter((name) => !labelsOfLines.has(name))
    .map((name) => `no line has "${name}": ${expression}`)
}

const attributesOfSpans: ReadonlySet<string> = new Set(Object.values(spanAttributes))

function problemsOfTraceql(query: string): string[] {
  const { isBroken, found } = identifiers(traceql, query)
  if (isBroken) return [`no TraceQL: ${query}`]
  return found
    .filter((name) => !attributesOfSpans.has(name))
    .map((name) => `no span has "${name}": ${query}`)
}

/** The names in a query, and whether it can be read at all. */
function identifiers(parser: Parser, text: string) {
  const found: string[] = []
  let isBroken = text.trim() === ''
  parser.parse(text).iterate({
    enter(node) {
      isBroken ||= node.type.isError
      if (node.name === 'Identifier') found.push(text.slice(node.from, node.to))
    },
  })
  return { isBroken, found }
}

/** Grafana moves panels that overlap, each time that somebody opens the dashboard. */
function overlaps(panels: readonly PanelJson[]): string[] {
  return panels.flatMap(({ gridPos: a, title }, at) => [
    ...(a.x + a.w > 24 ? [`${title}: it is wider than its row.`] : []),
    ...panels
      .slice(at + 1)
      .filter(
        ({ gridPos: b }) =>
          a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h,
      )
      .map((other) => `${title}: it lies over "${other.title}".`),
  ])
}
