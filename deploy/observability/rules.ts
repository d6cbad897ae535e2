/** What Prometheus and promtool read, made of the table of alerts. JSON is YAML too. */
import type { Alert, AlertCase } from './alerts/alert.ts'
import { recordingCases, recordingRules } from './alerts/objectives.ts'

/** A file of rules that fire. */
export function alertRules(group: string, alerts: readonly Alert[]) {
  return { groups: [{ name: group, rules: alerts.map(alertRule) }] }
}

function alertRule({ name, severity, for: holds, expr, summary }: Alert) {
  return {
    alert: name,
    expr,
    ...(holds ? { for: holds } : {}),
    labels: { severity },
    annotations: { summary, runbook: `docs/runbooks/${name}.md` },
  }
}

/** The file of rules that record what the alerts of the objectives compare. */
export function recordedRules() {
  return { groups: [{ name: 'recorded', rules: recordingRules }] }
}

/** The tests of a file of alerts, for promtool. Recorded series are given, not computed. */
export function alertTests(rulesFile: string, alerts: readonly Alert[]) {
  return {
    rule_files: [rulesFile],
    evaluation_interval: '1m',
    tests: alerts.flatMap((alert) => [
      ...alert.fires.map((one) => alertTest(alert, one, true)),
      ...alert.quiet.map((one) => alertTest(alert, one, false)),
    ]),
  }
}

function alertTest({ name }: Alert, { why, at, series }: AlertCase, fires: boolean) {
  const firing = `count(ALERTS{alertname="${name}",alertstate="firing"}) > bool 0`
  return {
    name: `${name} ${fires ? 'fires' : 'is quiet'}: ${why}`,
    interval: '1m',
    input_series: inputs(series),
    promql_expr_test: [
      { expr: firing, eval_time: at, exp_samples: fires ? [{ labels: '{}', value: 1 }] : [] },
    ],
  }
}

/** The tests of what is recorded. */
export function recordedTests() {
  return {
    rule_files: ['recorded.rules.yml'],
    evaluation_interval: '1m',
    tests: recordingCases.map(({ why, expr, series, value }) => ({
      name: `${expr}: ${why}`,
      interval: '1m',
      input_series: inputs(series),
      promql_expr_test: [
        value === undefined
          ? { expr, eval_time: '15m', exp_samples: [] }
          : {
              expr: `abs(${expr} - ${value}) < bool 0.001`,
              eval_time: '15m',
              exp_samples: [{ labels: '{}', value: 1 }],
            },
      ],
    })),
  }
}

function inputs(series: Readonly<Record<string, string>>) {
  return Object.entries(series).map(([name, values]) => ({ series: name, values }))
}
