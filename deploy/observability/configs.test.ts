import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { severities } from './alerts/alert.ts'
import { alerts } from './alerts.ts'
import { scrapeJobs } from './promql.ts'
import { runTool, skipsWithout } from './testing/tools.ts'

const here = import.meta.dirname
const alertmanager = join(here, 'alertmanager/alertmanager.yml')
const names = alerts.map(({ name }) => name)

describe('alertmanager.yml', () => {
  it('names only alerts that exist', () => {
    const text = readFileSync(alertmanager, 'utf8')
    const patterns = [...text.matchAll(/alertname=~?"([^"]+)"/g)].flatMap(([, one = '']) =>
      one.split('|'),
    )
    expect(patterns.length).toBeGreaterThan(20)
    for (const pattern of patterns)
      expect(
        names.some((name) => new RegExp(`^${pattern}$`).test(name)),
        pattern,
      ).toBe(true)
  })

  it('holds no secret, only the names of files', () => {
    const text = readFileSync(alertmanager, 'utf8')
    expect(text).not.toMatch(/https?:|\b(routing_key|service_key|api_url|url|password|token):/)
    expect(text.match(/_file:/g)).toHaveLength(3)
  })

  describe.skipIf(skipsWithout('amtool'))('amtool (npm run setup -- --with monitoring)', () => {
    it('accepts it', async () => {
      const { isContent, output } = await runTool('amtool', ['check-config', alertmanager])
      expect(isContent, output).toBe(true)
    })

    it.each([
      ['pager', ['alertname=BrokerAway', 'severity=page']],
      ['tickets', ['alertname=JobFailed', 'severity=ticket']],
      ['log', ['alertname=GpuUtilizationHigh', 'severity=info']],
      ['deadman', ['alertname=Watchdog', 'severity=none']],
      ['log', ['alertname=SomethingElse', 'severity=none']],
      ['tickets', ['alertname=SomethingElse', 'severity=catastrophe']],
      ['tickets', ['alertname=SomethingElse']],
    ])('%s hears of %j', async (receiver, labels) => {
      const { isContent, output } = await runTool('amtool', [
        ...['config', 'routes', 'test', `--config.file=${alertmanager}`],
        ...[`--verify.receivers=${receiver}`, ...labels],
      ])
      expect(isContent, output).toBe(true)
    })
  })

  it('is asked about every severity that an alert has', () => {
    expect(new Set(alerts.map(({ severity }) => severity))).toEqual(new Set(severities))
  })
})

describe('prometheus.yml', () => {
  it.skipIf(skipsWithout('promtool'))('is accepted with every rule file', async () => {
    const { isContent, output } = await runTool('promtool', [
      'check',
      'config',
      join(here, 'prometheus/prometheus.yml'),
    ])
    expect(isContent, output).toBe(true)
    const rules = globSync('generated/*.rules.yml', { cwd: here })
    expect(output).toContain(`${rules.length} rule files found`)
  })

  it('has targets for each job that the alerts know', () => {
    const text = readFileSync(join(here, 'prometheus/targets/compose.json'), 'utf8')
    const groups: readonly { labels: { job: string; instance: string } }[] = JSON.parse(text)
    expect(groups.map(({ labels }) => labels.job)).toEqual(scrapeJobs)
    for (const { labels } of groups) expect(labels.instance).not.toBe('')
  })
})
