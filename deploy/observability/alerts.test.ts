import { globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { metrics } from '@avatar/contracts'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Alert } from './alerts/alert.ts'
import { recordingRules } from './alerts/objectives.ts'
import { alertGroups, alerts } from './alerts.ts'
import { problemsOf } from './promql.ts'
import { alertRules, alertTests } from './rules.ts'
import { mutationsOf } from './testing/mutations.ts'
import { runTool, skipsWithout } from './testing/tools.ts'

const generated = join(import.meta.dirname, 'generated')
const recorded = recordingRules.map(({ record }) => record)
const noPromtool = skipsWithout('promtool')

describe('the table of alerts', () => {
  it('has no name twice', () => {
    const names = alerts.map(({ name }) => name)
    expect(names).toEqual([...new Set(names)])
  })

  it.each(alerts)('$name fires in a test and is quiet in another', ({ name, fires, quiet }) => {
    expect(fires.length).toBeGreaterThan(0)
    // The watchdog is never quiet: that is what it is for.
    if (name !== 'Watchdog') expect(quiet.length).toBeGreaterThan(0)
  })

  it.each(alerts)('$name asks for nothing that no service tells', ({ expr }) => {
    expect(problemsOf(expr, recorded)).toEqual([])
  })

  it.each(recordingRules)('$record is made of what services tell', ({ expr }) => {
    expect(problemsOf(expr)).toEqual([])
  })

  it.each([
    // Between bounds a quantile is a guess: a threshold is one of them, and not the last.
    ['render_duration_seconds', 180],
    ['estimate_error_ratio', 0.5],
    ['deletion_lateness_seconds', 900],
  ] as const)('%s is exact at %d', (metric, threshold) => {
    const buckets: readonly number[] = metrics[metric].buckets
    expect(buckets.slice(0, -1)).toContain(threshold)
  })

  it.each([...alerts.map(({ expr }) => expr), ...recordingRules.map(({ expr }) => expr)])(
    'means the same in Prometheus 2 and 3: %s',
    (expr) => {
      // Prometheus 3 writes le="180.0", refuses holt_winters, and lets a dot of a pattern match a new line.
      expect(expr).not.toMatch(/\ble="|holt_winters|\{[^}]*__name__/)
    },
  )
})

describe.skipIf(noPromtool)('promtool (npm run setup -- --with monitoring)', () => {
  const files = globSync('*.yml', { cwd: generated })
    .toSorted()
    .map((name) => join(generated, name))

  it('accepts every rule', async () => {
    const rules = files.filter((file) => file.endsWith('.rules.yml'))
    expect(rules).toHaveLength(Object.keys(alertGroups).length + 1)
    const { isContent, output } = await runTool('promtool', ['check', 'rules', ...rules])
    expect(isContent, output).toBe(true)
  })

  it('finds every test in order', async () => {
    const tests = files.filter((file) => file.endsWith('.test.yml'))
    expect(tests).toHaveLength(Object.keys(alertGroups).length + 1)
    const { isContent, output } = await runTool('promtool', ['test', 'rules', ...tests])
    expect(isContent, output).toBe(true)
  }, 120_000)

  it('finds a failure whenever a threshold is doubled or halved', async () => {
    const mutants = alerts.flatMap((alert) =>
      mutationsOf(alert.expr).map(({ change, expression }) => ({
        ...{ alert, what: `${alert.name}: ${change}` },
        mutant: { ...alert, expr: expression },
      })),
    )
    expect(mutants.length).toBeGreaterThan(60)
    // The control: beside its mutants, each alert passes its tests.
    const controls = alerts.map((alert) => ({ alert, what: alert.name, mutant: alert }))
    const survivors = await survivorsOf([...mutants, ...controls])
    expect(survivors).toEqual(alerts.map(({ name }) => name))
  }, 120_000)
})

type Mutant = { alert: Alert; what: string; mutant: Alert }

/**
 * Runs the tests of each alert on its mutants and says of which all pass. What promtool 2 and 3 both print
 * of a failed test is its expression, so each mutant has a name of its own in it. The mutants of an alert
 * share its tests, for each test has a database of its own, and that is most of its price.
 */
async function survivorsOf(mutants: readonly Mutant[]): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'mutants-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const named = mutants.map((one, at) => ({
    ...one,
    mutant: { ...one.mutant, name: `Mutant${at}` },
  }))
  const files = alerts.map((alert) => {
    const own = named.flatMap((one) => (one.alert === alert ? [one.mutant] : []))
    const [rules, tests] = [`${alert.name}.rules.yml`, join(folder, `${alert.name}.test.yml`)]
    const file = alertTests(rules, [alert])
    const asked = file.tests.map((test) => ({
      ...test,
      promql_expr_test: own.flatMap(({ name }) =>
        test.promql_expr_test.map((one) => ({
          ...one,
          expr: one.expr.replace(`"${alert.name}"`, `"${name}"`),
        })),
      ),
    }))
    writeFileSync(join(folder, rules), JSON.stringify(alertRules('mutants', own)))
    writeFileSync(tests, JSON.stringify({ ...file, tests: asked }))
    return tests
  })
  const { output } = await runTool('promtool', ['test', 'rules', ...files])
  const failed = new Set([...output.matchAll(/Mutant(\d+)\b/g)].map(([, at]) => Number(at)))
  return mutants.filter((_, at) => !failed.has(at)).map(({ what }) => what)
}
