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
  }, 60_000)

  it('finds a failure whenever a threshold is doubled or halved', async () => {
    const mutants = alerts.flatMap((alert) =>
      mutationsOf(alert.expr).map(({ change, expression }) => ({
        what: `${alert.name}: ${change}`,
        mutant: { ...alert, expr: expression },
      })),
    )
    expect(mutants.length).toBeGreaterThan(60)
    // The control: alone with its tests, each alert passes them.
    const controls = alerts.map((alert) => ({ what: alert.name, mutant: alert }))
    const survivors = await survivorsOf([...mutants, ...controls])
    expect(survivors).toEqual(alerts.map(({ name }) => name))
  }, 60_000)
})

type Mutant = { what: string; mutant: Alert }

/**
 * Runs the tests of each mutant, all in one run of promtool, and says of which all pass. What promtool 2
 * and 3 both print of a failed test is its expression, so each mutant has a name of its own in it.
 */
async function survivorsOf(mutants: readonly Mutant[]): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'mutants-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const files = mutants.map(({ mutant }, at) => {
    const [rules, tests] = [`${at}.rules.yml`, join(folder, `${at}.test.yml`)]
    const named = [{ ...mutant, name: `Mutant${at}` }]
    writeFileSync(join(folder, rules), JSON.stringify(alertRules('mutant', named)))
    writeFileSync(tests, JSON.stringify(alertTests(rules, named)))
    return tests
  })
  const { output } = await runTool('promtool', ['test', 'rules', ...files])
  const failed = new Set([...output.matchAll(/Mutant(\d+)\b/g)].map(([, at]) => Number(at)))
  return mutants.filter((_, at) => !failed.has(at)).map(({ what }) => what)
}
