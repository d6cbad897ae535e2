import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { repositoryRoot } from '../stack/installation.ts'
import { alertmanagerConfig, prometheusConfig } from './observer-files.ts'

const deployed = (path: string) =>
  readFileSync(join(repositoryRoot, 'deploy/observability', path), 'utf8')
const prometheus = deployed('prometheus/prometheus.yml')
const alertmanager = deployed('alertmanager/alertmanager.yml')

const settings = {
  ports: { prometheus: 1, alertmanager: 2, blackbox: 3 },
  divisor: 1,
  webhookUrl: undefined,
}
const paths = { rules: '/data/observe/rules', targets: '/data/prometheus-targets.json' }

describe('Prometheus of one machine', () => {
  it('has the addresses of this machine, and nothing of another', () => {
    const config = prometheusConfig(prometheus, settings, paths)
    expect(config).toContain('scrape_interval: 15000ms')
    expect(config).toContain('targets: [127.0.0.1:2]')
    expect(config).toContain('replacement: 127.0.0.1:3')
    expect(config).toContain('"/data/observe/rules/*.rules.yml"')
    expect(config).toContain('files: ["/data/prometheus-targets.json"]')
    expect(config).not.toMatch(/\.\.\/|alertmanager:9093|blackbox:9115/)
  })

  it('scrapes more often in tests, and never more often than a busy machine can', () => {
    expect(prometheusConfig(prometheus, { ...settings, divisor: 10 }, paths)).toContain(
      'evaluation_interval: 1500ms',
    )
    expect(prometheusConfig(prometheus, { ...settings, divisor: 1000 }, paths)).toContain(
      'scrape_interval: 1000ms',
    )
  })

  it('says which place the deployed file has lost', () => {
    expect(() => prometheusConfig('global: {}', settings, paths)).toThrow('scrape_interval: 15s')
  })
})

describe('Alertmanager of one machine', () => {
  it('has the same routes, and receivers that need no secret', () => {
    const config = alertmanagerConfig(alertmanager, settings)
    expect(config.split('receivers:')[0]).toBe(alertmanager.split('receivers:')[0])
    expect(config.split('receivers:')[1]?.trim()).toBe(
      '[{"name":"pager"},{"name":"tickets"},{"name":"log"},{"name":"deadman"}]',
    )
  })

  it('posts every alert to a webhook where there is one, and sooner in tests', () => {
    const webhookUrl = 'http://127.0.0.1:9/'
    const config = alertmanagerConfig(alertmanager, { ...settings, divisor: 10, webhookUrl })
    expect(config.match(/"url":"http:\/\/127\.0\.0\.1:9\/"/g)).toHaveLength(4)
    expect(config).toContain('group_wait: 3000ms')
    expect(config).not.toMatch(/_file:|group_interval: \dm\b/)
  })
})
