import type { Builder } from '@grafana/grafana-foundation-sdk/cog'
import * as common from '@grafana/grafana-foundation-sdk/common'
import * as dashboard from '@grafana/grafana-foundation-sdk/dashboard'
import { PanelBuilder as LogsPanel } from '@grafana/grafana-foundation-sdk/logs'
import { DataqueryBuilder as LokiQuery } from '@grafana/grafana-foundation-sdk/loki'
import {
  DataqueryBuilder as PrometheusQuery,
  PromQueryFormat,
} from '@grafana/grafana-foundation-sdk/prometheus'
import { PanelBuilder as StatPanel } from '@grafana/grafana-foundation-sdk/stat'
import { PanelBuilder as TablePanel } from '@grafana/grafana-foundation-sdk/table'
import { DataqueryBuilder as TempoQuery } from '@grafana/grafana-foundation-sdk/tempo'
import { PanelBuilder as TimeseriesPanel } from '@grafana/grafana-foundation-sdk/timeseries'

/** The datasources that a dashboard may ask. Each is a variable of the dashboard, so that any instance can take its place. */
export type Datasource = 'prometheus' | 'tempo' | 'loki'

/** What a panel asks, before it has its number and place. */
export type Question = {
  readonly title: string
  /** The question in words, and what to make of the answer. */
  readonly description: string
  /** Grafana's name of a unit: `s`, `percentunit`, `bytes`, `none`. */
  readonly unit: string
  /** The legend of each query, which may name labels (`{{worker}}`), and the query. */
  readonly ask: Readonly<Record<string, string>>
  /** Columns of 24. */
  readonly width?: number
  readonly height?: number
  /** From where on the answer is bad: drawn as lines, and as the colour of a figure. */
  readonly limit?: { readonly above: readonly number[] } | { readonly below: number }
  readonly max?: number
  readonly decimals?: number
}

export type GraphQuestion = Question & {
  /** The series add up to something. */
  readonly isStacked?: boolean
  /** Else the axis begins at 0. */
  readonly hasNegatives?: boolean
  /** Marks single observations that lead to their traces. */
  readonly hasExemplars?: boolean
}

export type FigureQuestion = Question & {
  /** What stands there while there is no answer. */
  readonly otherwise?: string
  /** Words instead of numbers. */
  readonly words?: Readonly<Record<string, string>>
}

/** A panel that still lacks its number. */
export type Panel = Builder<dashboard.Panel> & { id(id: number): Panel }

export const source = (type: Datasource): common.DataSourceRef => ({ type, uid: `\${${type}}` })

/** Curves over the time that is shown. */
export function graph(question: GraphQuestion): Panel {
  const panel = placed(new TimeseriesPanel(), question, { width: 8, height: 8 })
    .datasource(source('prometheus'))
    .fillOpacity(question.isStacked ? 40 : 8)
    .legend(legend())
    .tooltip(new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi))
  if (!question.hasNegatives) panel.min(0)
  if (question.max !== undefined) panel.max(question.max)
  if (question.isStacked)
    panel.stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal))
  if (question.limit)
    panel.thresholdsStyle(
      new common.GraphThresholdsStyleConfigBuilder().mode(common.GraphThresholdsStyleMode.Dashed),
    )
  for (const [letter, name, query] of lettered(question.ask)) {
    const target = prometheusQuery(letter, name, query).range()
    panel.withTarget(question.hasExemplars ? target.exemplar(true) : target)
  }
  return panel
}

/** One number, as it is now or for the whole time that is shown. */
export function figure(question: FigureQuestion): Panel {
  const panel = placed(new StatPanel(), question, { width: 3, height: 4 })
    .datasource(source('prometheus'))
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .graphMode(common.BigValueGraphMode.None)
    // Without bounds of its own a figure would turn red at Grafana's, which is 80.
    .colorMode(question.limit ? common.BigValueColorMode.Value : common.BigValueColorMode.None)
    .noValue(question.otherwise ?? 'no data')
  if (question.words) panel.mappings([wordsFor(question.words)])
  for (const [letter, name, query] of lettered(question.ask))
    panel.withTarget(prometheusQuery(letter, name, query).instant())
  return panel
}

/** The labels of all series that are 1 now, one a row. */
export function table(question: Question): Panel {
  const panel = placed(new TablePanel(), question, { width: 12, height: 8 })
    .datasource(source('prometheus'))
    // Labels become columns. The time of the question is the same in every row, and the value is 1.
    .withTransformation({
      id: 'organize',
      options: { excludeByName: { Time: true, Value: true } },
    })
  for (const [letter, name, query] of lettered(question.ask))
    panel.withTarget(prometheusQuery(letter, name, query).instant().format(PromQueryFormat.Table))
  return panel
}

/** The traces that a TraceQL query finds; each row opens its trace. */
export function traceList(question: Question): Panel {
  const panel = placed(new TablePanel(), question, { width: 24, height: 6 }).datasource(
    source('tempo'),
  )
  for (const [letter, , query] of lettered(question.ask))
    panel.withTarget(
      new TempoQuery()
        .datasource(source('tempo'))
        .refId(letter)
        .queryType('traceql')
        .query(query)
        .limit(20),
    )
  return panel
}

/** Lines of the log, oldest first, as one reads a story. */
export function logLines(question: Question): Panel {
  const panel = placed(new LogsPanel(), question, { width: 24, height: 14 })
    .datasource(source('loki'))
    .showTime(true)
    .wrapLogMessage(true)
    .enableLogDetails(true)
    .sortOrder(common.LogsSortOrder.Ascending)
  for (const [letter, name, query] of lettered(question.ask))
    panel.withTarget(lokiQuery(letter, name, query).maxLines(1000))
  return panel
}

/** Lines of the log, counted over the time that is shown. */
export function logGraph(question: Question): Panel {
  const panel = placed(new TimeseriesPanel(), question, { width: 12, height: 7 })
    .datasource(source('loki'))
    .drawStyle(common.GraphDrawStyle.Bars)
    .fillOpacity(60)
    .stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal))
    .legend(legend())
  for (const [letter, name, query] of lettered(question.ask))
    panel.withTarget(lokiQuery(letter, name, query))
  return panel
}

/** Hidden unless one asks for it. */
const legend = () =>
  new common.VizLegendOptionsBuilder()
    .showLegend(true)
    .displayMode(common.LegendDisplayMode.List)
    .placement(common.LegendPlacement.Bottom)

const prometheusQuery = (letter: string, name: string, query: string) =>
  new PrometheusQuery()
    .datasource(source('prometheus'))
    .refId(letter)
    .legendFormat(name)
    .expr(query)

const lokiQuery = (letter: string, name: string, query: string) =>
  new LokiQuery()
    .datasource(source('loki'))
    .refId(letter)
    .queryType('range')
    .legendFormat(name)
    .expr(query)

type Placeable = {
  title(title: string): unknown
  description(text: string): unknown
  unit(unit: string): unknown
  decimals(decimals: number): unknown
  span(columns: number): unknown
  height(rows: number): unknown
  thresholds(thresholds: Builder<dashboard.ThresholdsConfig>): unknown
}

/** What all kinds of panels have in common. */
function placed<P extends Placeable>(
  panel: P,
  { title, description, unit, decimals, limit, ...size }: Question,
  usual: { width: number; height: number },
): P {
  panel.title(title)
  panel.description(description)
  panel.unit(unit)
  if (decimals !== undefined) panel.decimals(decimals)
  panel.span(size.width ?? usual.width)
  panel.height(size.height ?? usual.height)
  if (limit) panel.thresholds(thresholds(limit))
  return panel
}

function thresholds(limit: NonNullable<Question['limit']>) {
  const steps =
    'below' in limit
      ? [
          { value: null, color: 'red' },
          { value: limit.below, color: 'green' },
        ]
      : [
          { value: null, color: 'green' },
          ...limit.above.map((value, at) => {
            const isLast = at === limit.above.length - 1
            return { value, color: isLast ? 'red' : 'orange' }
          }),
        ]
  return new dashboard.ThresholdsConfigBuilder()
    .mode(dashboard.ThresholdsMode.Absolute)
    .steps(steps)
}

function wordsFor(words: Readonly<Record<string, string>>): dashboard.ValueMap {
  const options = Object.fromEntries(
    Object.entries(words).map(([value, text], index) => [value, { text, index }]),
  )
  return { type: dashboard.MappingType.ValueToText, options }
}

/** A, B, C: Grafana names the queries of a panel so. */
function lettered(ask: Question['ask']): [letter: string, name: string, query: string][] {
  return Object.entries(ask).map(([name, query], at) => [
    String.fromCharCode('A'.charCodeAt(0) + at),
    name,
    query.replace(/\s+/g, ' ').trim(),
  ])
}
