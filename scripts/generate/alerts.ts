import { type MetricSpec, metricPrefix, metrics } from '@avatar/contracts'
import type { Alert, Severity } from '../../deploy/observability/alerts/alert.ts'
import { recordingRules } from '../../deploy/observability/alerts/objectives.ts'
import { alertGroups, alerts } from '../../deploy/observability/alerts.ts'
import { selectorsOf } from '../../deploy/observability/promql.ts'
import {
  alertRules,
  alertTests,
  recordedRules,
  recordedTests,
} from '../../deploy/observability/rules.ts'
import type { GeneratedFiles } from './generated-files.ts'

const folder = 'deploy/observability/generated'

/** Rules for Prometheus, their tests for promtool, and `docs/alerts.md`, of the table of alerts. */
export function writeAlerts(): GeneratedFiles {
  const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`
  const files = Object.entries(alertGroups).flatMap(([group, alerts]) => [
    [`${group}.rules.yml`, json(alertRules(group, alerts))] as const,
    [`${group}.test.yml`, json(alertTests(`${group}.rules.yml`, alerts))] as const,
  ])
  const paths = files.map(([name, content]) => [`${folder}/${name}`, content])
  return {
    ...Object.fromEntries(paths),
    [`${folder}/recorded.rules.yml`]: json(recordedRules()),
    [`${folder}/recorded.test.yml`]: json(recordedTests()),
    [`${folder}/selectors.json`]: json(selectors()),
    'docs/alerts.md': page(),
  }
}

/**
 * Every selector of a rule, for a test that asks a real Prometheus whether a series fits it, and what the
 * series needs, where not every system has it.
 */
function selectors() {
  const rules = [...alerts, ...recordingRules]
  const found = new Map(
    rules.flatMap(({ expr }) => selectorsOf(expr)).map((one) => [one.text, one]),
  )
  return [...found.values()].map(({ text, metric }) => ({ selector: text, ...needs(metric) }))
}

function needs(series: string): { onlyWith?: string } {
  const key = series.slice(metricPrefix.length).replace(/_(bucket|sum|count)$/, '')
  const spec = Object.entries<MetricSpec>(metrics).find(([name]) => name === key)?.[1]
  return spec?.onlyWith ? { onlyWith: spec.onlyWith } : {}
}

const titles: Readonly<Record<string, string>> = {
  services: 'The services',
  jobs: 'Jobs',
  machines: 'Workers, GPUs and disks',
  money: 'Money',
  objectives: 'Objectives',
}

const meanings: Readonly<Record<Severity, string>> = {
  page: 'somebody is woken',
  ticket: 'somebody looks on the next working day',
  info: 'it is seen on the dashboard',
  none: 'it goes to a dead man’s switch, which tells when it stops',
}

function page(): string {
  const sections = Object.entries(alertGroups).map(
    ([group, alerts]) => `## ${titles[group] ?? group}\n\n${table(alerts)}\n`,
  )
  return [
    '# Alerts\n',
    '<!-- Written by npm run generate from deploy/observability/alerts.ts. -->\n',
    'Each links to what to do about it. Prometheus reads them from',
    '[deploy/observability/generated](../deploy/observability/generated); those of the objectives compare what `recorded.rules.yml` records.\n',
    `${Object.entries(meanings)
      .map(([severity, meaning]) => `- **${severity}**: ${meaning}`)
      .join('\n')}\n`,
    ...sections,
  ].join('\n')
}

function table(alerts: readonly Alert[]): string {
  const rows = alerts.map(({ name, severity, for: holds, expr, summary }) => [
    `[${name}](runbooks/${name}.md)`,
    severity,
    holds ?? 'at once',
    `${withoutTemplates(summary)}<br>\`${expr.replaceAll('|', '\\|')}\``,
  ])
  return [['alert', 'severity', 'after', 'says, when'], ['---', '---', '---', '---'], ...rows]
    .map((row) => `| ${row.join(' | ')} |`)
    .join('\n')
}

/** `{{ $labels.worker }}` reads as *worker*, and a value as *N*. */
function withoutTemplates(summary: string): string {
  return summary
    .replaceAll(/\{\{ \$labels\.(\w+) \}\}/g, '*$1*')
    .replaceAll(/\{\{ \$value[^}]*\}\}/g, '*N*')
}
