import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import {
  type MetricSpec,
  metricPrefix,
  metrics,
  monitoredServices,
  spanNames,
} from '@avatar/contracts'
import { parser } from '@prometheus-io/lezer-promql'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  findPrometheus,
  type Prometheus,
  type System,
  serveMadeMetrics,
  startPrometheus,
  startSystem,
  suspend,
  until,
  voice,
} from '../harness/index.ts'

const generated = resolve(import.meta.dirname, '../../deploy/observability/generated')
const catalogue: Readonly<Record<string, MetricSpec>> = metrics

type Target = { datasource: { type: string }; expr: string }
type Panel = { title: string; targets?: Target[] }
type Rules = { groups: { rules: { expr: string }[] }[] }

const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'))
const ruleFiles = readdirSync(generated).flatMap((name) =>
  name.endsWith('.rules.yml') ? join(generated, name) : [],
)
const rules = ruleFiles.flatMap((file) =>
  (json(file) as Rules).groups.flatMap((group) => group.rules.map(({ expr }) => expr)),
)
const panels = readdirSync(join(generated, 'dashboards')).flatMap((name) =>
  (json(join(generated, 'dashboards', name)) as { panels: Panel[] }).panels.flatMap(
    ({ title, targets = [] }) =>
      targets
        .filter(({ datasource }) => datasource.type === 'prometheus')
        .map(({ expr }) => [`${name}: ${title}`, filledIn(expr)] as const),
  ),
)

/** As Grafana fills it in: for curves a few scrapes, for figures the time that is shown. */
function filledIn(expression: string): string {
  return expression.replaceAll('$__rate_interval', '2m').replaceAll('$__range', '5m')
}

/** `name{label="value"}` as it stands in an expression. */
function selectorsOf(expression: string): string[] {
  const found: string[] = []
  parser.parse(expression).iterate({
    enter: ({ name, from, to }) => {
      if (name === 'VectorSelector') found.push(expression.slice(from, to))
    },
  })
  return found
}

describe.runIf(findPrometheus() || process.env['CI'])('what dashboards and rules ask', () => {
  let system: System
  let prometheus: Prometheus
  let others: Awaited<ReturnType<typeof serveMadeMetrics>>

  beforeAll(async () => {
    system = await startSystem({
      env: {
        POOL_PRICES: 'local=0.001',
        SERVICE_BUDGET_PER_DAY: '100',
        VIDEO_RETENTION_HOURS: String(2 / 3600),
      },
    })
    const { processes } = await system.stack()
    const ports = monitoredServices.map(
      (name) => [name, processes[name].ports['metrics'] ?? 0] as const,
    )
    others = await serveMadeMetrics([
      ...[spanNames.render, 'POST /generate'].map((span_name) => ({
        name: 'traces_spanmetrics_latency',
        type: 'histogram' as const,
        buckets: [1],
        labels: { span_name, service: 'made', job: 'tempo' },
      })),
      { name: 'probe_success', type: 'gauge', labels: { job: 'probe' } },
    ])
    prometheus = await startPrometheus({
      targets: { ...Object.fromEntries(ports), others: others.port },
      rules: ruleFiles,
    })

    // A histogram appears with its first observation, which is no increase for Prometheus yet.
    await renderAndDelete()
    await until(
      async () =>
        (await prometheus.query('infinitetalk_deletion_lateness_seconds_count > 0')).length > 0,
      { everyMs: 250, what: 'a scrape after the first deletion' },
    )
    const silent = voice().fill(0, 44)
    expect((await system.client.submit({ audio: silent })).error?.code).toBe('AUDIO_EMPTY')
    const failed = await system.client.submit({ prompt: 'null:fail' })
    await system.client.untilEnded(failed.jobId, 'failed')
    // A cold start, and a request that is answered by a 5xx.
    await system.kill('child')
    await suspend([await system.pidOf('s3')], () =>
      until(async () => (await system.client.send('/health')).status === 503, {
        everyMs: 250,
        what: 'a 503 while the store is away',
      }),
    )
    await renderAndDelete()

    const told = await toldBy(ports.map(([, port]) => port))
    const made = Object.entries(catalogue).filter(
      ([key, { onlyWith }]) => onlyWith && !told.has(metricPrefix + key),
    )
    others.tell(Object.fromEntries(made))
  })
  afterAll(async () => {
    await prometheus?.stop()
    await others?.stop()
    expect(await system.stop()).toEqual([])
  })

  async function renderAndDelete() {
    const { jobId } = await system.client.submit()
    await system.client.untilEnded(jobId, 'completed')
    await system.client.untilView(jobId, ({ deleted_at }) => deleted_at !== null)
  }

  /** What is missing at the end of a patient look, as `what` names it. */
  async function missingFrom<T>(all: readonly T[], isThere: (one: T) => Promise<boolean>) {
    let left = [...all]
    const look = async () => {
      const there = await Promise.all(left.map(isThere))
      left = left.filter((_, at) => !there[at])
      return left.length === 0
    }
    await until(look, { timeoutMs: 30_000, everyMs: 500 }).catch(() => undefined)
    return left
  }

  it('every selector matches at least one series', async () => {
    const selectors = new Set([...rules, ...panels.map(([, expr]) => expr)].flatMap(selectorsOf))
    expect(selectors.size).toBeGreaterThan(50)
    const empty = await missingFrom([...selectors], async (selector) => {
      const [count] = await prometheus.query(`count(${selector})`)
      return (count?.value ?? 0) > 0
    })
    expect(empty).toEqual([])
  })

  it('every panel shows a finite figure', async () => {
    const empty = await missingFrom(panels, async ([, expression]) => {
      const series = await prometheus.query(expression)
      return series.some(({ value }) => Number.isFinite(value))
    })
    expect(empty).toEqual([])
  })
})

/** The names of all metrics that these targets tell. */
async function toldBy(ports: readonly number[]): Promise<ReadonlySet<string>> {
  const pages = await Promise.all(
    ports.map(async (port) => (await fetch(`http://127.0.0.1:${port}/metrics`)).text()),
  )
  return new Set(
    pages.flatMap((page) => [...page.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => String(name))),
  )
}
