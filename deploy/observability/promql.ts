/**
 * Holds expressions of rules and dashboards against the catalogue, without a server: a name or a label
 * that no service tells makes an alert that never fires and a panel that is always empty.
 */
import { failureCodes, type MetricSpec, metricPrefix, metrics } from '@avatar/contracts'
import { parser } from '@prometheus-io/lezer-promql'

/** `name{label="value"}` in an expression. */
export type Selector = {
  /** The name of the series, such as `infinitetalk_jobs`. */
  readonly metric: string
  readonly matchers: readonly Matcher[]
  /** As it stands in the expression, without a range. */
  readonly text: string
}
export type Matcher = { readonly label: string; readonly operator: string; readonly value: string }

/** The `job` of each target in `prometheus.yml`. */
export const scrapeJobs = ['ingest', 'orchestrator', 'janitor', 'probe'] as const

/** Labels that Prometheus adds to what it scrapes, with their closed sets. */
const labelsOfTargets = { job: scrapeJobs, instance: null } as const

/** Series that are no service's: of Prometheus, of the blackbox exporter, and what Tempo counts of spans. */
const othersSeries: Readonly<Record<string, LabelSets>> = {
  up: {},
  probe_success: {},
  probe_duration_seconds: {},
  traces_spanmetrics_latency_bucket: { service: null, span_name: null, le: null },
  ALERTS: { alertname: null, alertstate: ['pending', 'firing'], severity: null },
}

type LabelSets = Readonly<Record<string, readonly string[] | null>>

/** What Grafana puts in before it asks Prometheus. Variables inside of quotes parse as they are. */
const grafanaDurations = /\$__(rate_interval|interval|range)\b/g

/** Every selector of an expression, in order. @throws Error where it is no PromQL */
export function selectorsOf(expression: string): Selector[] {
  return parse(expression).selectors
}

/**
 * What is wrong with an expression, as sentences; empty when nothing is.
 *
 * @param recorded names of series that recording rules make
 */
export function problemsOf(expression: string, recorded: readonly string[] = []): string[] {
  try {
    const { selectors, grouped } = parse(expression)
    return [
      ...selectors.flatMap((selector) => problemsOfSelector(selector, recorded)),
      ...grouped.filter((label) => !everyLabel.has(label)).map((label) => `No label "${label}".`),
    ]
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)]
  }
}

function problemsOfSelector({ metric, matchers, text }: Selector, recorded: readonly string[]) {
  if (recorded.includes(metric)) return []
  const labels = seriesByName.get(metric)
  if (!labels) return [`No series "${metric}" (${text}).`]
  return matchers.flatMap(({ label, operator, value }) => {
    const known = labels[label]
    if (known === undefined) return [`${metric} has no label "${label}" (${text}).`]
    if (known === null || value.includes('$')) return []
    const pattern = new RegExp(`^(?:${value})$`)
    const isMet = (one: string) => (operator.endsWith('~') ? pattern.test(one) : one === value)
    if (known.some(isMet)) return []
    return [`No ${label} of ${metric} is "${value}" (${text}).`]
  })
}

function parse(expression: string) {
  const text = expression.replaceAll(grafanaDurations, '5m')
  const selectors: { metric: string; matchers: Matcher[]; text: string }[] = []
  const grouped: string[] = []
  let operator = ''
  let label = ''
  let isGrouping = false
  parser.parse(text).iterate({
    enter(node) {
      const here = text.slice(node.from, node.to)
      if (node.type.isError) throw new Error(`No PromQL at "${text.slice(node.from)}": ${text}`)
      if (node.name === 'VectorSelector') selectors.push({ metric: '', matchers: [], text: here })
      else if (node.name === 'GroupingLabels') isGrouping = true
      else if (node.name === 'LabelName' && isGrouping) grouped.push(here)
      else if (node.name === 'LabelName') label = here
      else if (node.name === 'MatchOp') operator = here
      else if (node.name === 'Identifier' && node.matchContext(['VectorSelector']))
        Object.assign(selectors.at(-1) ?? {}, { metric: here })
      else if (node.name === 'StringLiteral' && node.matchContext(['UnquotedLabelMatcher']))
        selectors.at(-1)?.matchers.push({ label, operator, value: unquoted(here) })
    },
    leave(node) {
      if (node.name === 'GroupingLabels') isGrouping = false
    },
  })
  return { selectors, grouped }
}

function unquoted(literal: string): string {
  // Only double quotes have escapes, the same as in JSON as far as labels use them.
  return literal.startsWith('"') ? String(JSON.parse(literal)) : literal.slice(1, -1)
}

const codes = [...failureCodes, 'none']
const seriesByName = new Map<string, LabelSets>([
  ...Object.entries(othersSeries).map(([name, labels]) => entry(name, labels)),
  ...Object.entries<MetricSpec>(metrics).flatMap(([key, { type, labels, by }]) => {
    const name = metricPrefix + key
    const own = { ...labels, job: by, ...('code' in labels ? { code: codes } : {}) }
    if (type !== 'histogram') return [entry(name, own)]
    return [
      entry(`${name}_bucket`, { ...own, le: null }),
      entry(`${name}_sum`, own),
      entry(`${name}_count`, own),
    ]
  }),
])
const everyLabel = new Set([...seriesByName.values()].flatMap((labels) => Object.keys(labels)))

function entry(name: string, labels: LabelSets) {
  return [name, { ...labelsOfTargets, ...labels }] as const
}
