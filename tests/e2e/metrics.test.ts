import {
  everyService,
  type MeasuredService,
  type MetricKey,
  type MetricSpec,
  metricName,
  metrics,
} from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  metricsUrl,
  type Series,
  type System,
  scrape,
  startAnotherWorker,
  startSystem,
  until,
  voice,
} from '../harness/index.ts'

const keys = Object.keys(metrics) as MetricKey[] // keys() forgets them.

/** What a system tells only now and then, or only where there is a GPU, a provider or its bill. */
const mayBeAbsent: ReadonlySet<MetricKey> = new Set([
  ...(['worker_loading_seconds', 'render_stalled_seconds', 'worker_start_seconds'] as const),
  ...keys.filter((key) => key.startsWith('gpu_')),
  'bill_difference_ratio',
  'endpoint_max_workers',
])

/** A scrape costs both sides some milliseconds. */
const lookEveryMs = 250

let system: System
beforeAll(async () => {
  system = await startSystem({ env: { SERVICE_BUDGET_PER_DAY: '1000' } })
})
afterAll(async () => {
  expect(await system.stop()).toEqual([])
})

const seriesOf = async (service: MeasuredService) => (await scrape(system, service)).series

/** The sum of a metric's series with these labels. */
async function sumOf(key: MetricKey, labels: Readonly<Record<string, string>>): Promise<number> {
  const [service] = metrics[key].by
  const isMeant = (one: Series) =>
    one.name === metricName(key) &&
    Object.entries(labels).every(([label, value]) => one.labels[label] === value)
  return (await seriesOf(service)).filter(isMeant).reduce((sum, { value }) => sum + value, 0)
}

/** The names of the metrics in a scrape; those of a histogram's parts are one. */
function namesIn(series: readonly Series[]): string[] {
  const names = series.map(({ name }) => name.replace(/_(bucket|sum|count)$/, ''))
  return [...new Set(names)].toSorted()
}

describe('after jobs that completed, were refused, failed by us and were cancelled', () => {
  const refused = { code: 'AUDIO_EMPTY', blame: 'caller' }
  const failed = { outcome: 'failed', code: 'GPU_OUT_OF_MEMORY', blame: 'us' }

  beforeAll(async () => {
    const { client } = system
    // The very first of their kinds: their series are there already.
    const hasSeries = async (key: MetricKey, labels: Readonly<Record<string, string>>) => {
      const [service] = metrics[key].by
      const own = (await seriesOf(service)).filter(({ name }) => name === metricName(key))
      return own.some((one) =>
        Object.entries(labels).every(([l, value]) => one.labels[l] === value),
      )
    }
    expect(await hasSeries('submissions_refused_total', refused)).toBe(true)
    expect(await hasSeries('jobs_finished_total', failed)).toBe(true)
    expect(await sumOf('submissions_refused_total', {})).toBe(0)

    const completed = await client.submit()
    const ours = await client.submit({ prompt: 'null:oom-always' })
    await client.untilEnded(completed.jobId, 'completed')
    await client.untilEnded(ours.jobId, 'failed')
    expect((await client.submit({ audio: voice({ amplitude: 0 }) })).status).toBe(400)
    const cancelled = await client.submit({ prompt: 'null:seconds=60' })
    await client.cancel(cancelled.jobId)
    await client.untilView(cancelled.jobId, ({ deleted_at }) => deleted_at !== null)
  })

  it.each(everyService)('%s tells exactly its part of the catalogue', async (service) => {
    const own = keys.filter((key) => (metrics[key] as MetricSpec).by.includes(service))
    const isMeant = (key: MetricKey) =>
      !mayBeAbsent.has(key) && (key !== 'disk_free_ratio' || service === 'ingest')
    const meant = own.filter(isMeant).map(metricName)
    const missing = async () => {
      const told = namesIn(await seriesOf(service))
      return meant.filter((name) => !told.includes(name))
    }
    // The broker's streams are read every few seconds, and a sweep takes its time.
    const isWhole = async () => (await missing()).length === 0
    await until(isWhole, { timeoutMs: 20_000, everyMs: lookEveryMs }).catch(() => undefined)
    expect(await missing()).toEqual([])
    const told = namesIn(await seriesOf(service))
    expect(told.filter((name) => !own.map(metricName).includes(name))).toEqual([])
    expect(await sumOf('scrape_errors_total', {})).toBe(0)
  })

  it('the refusal, the failure and the cancelled job are counted with whom they blame', async () => {
    expect(await sumOf('submissions_refused_total', refused)).toBe(1)
    expect(await sumOf('submissions_refused_total', {})).toBe(1)
    expect(await sumOf('jobs_accepted_total', { door: 'rest' })).toBe(3)
    expect(await sumOf('jobs_finished_total', failed)).toBe(1)
    expect(await sumOf('jobs_finished_total', { blame: 'us' })).toBe(1)
    expect(await sumOf('jobs_finished_total', { outcome: 'completed' })).toBe(1)
    expect(await sumOf('jobs_finished_total', { outcome: 'cancelled' })).toBe(1)
  })

  it('no sample names a job, and help and type stand once for each metric', async () => {
    for (const service of everyService) {
      const { text } = await scrape(system, service)
      expect(text, 'a UUID').not.toMatch(/[0-9a-f]{8}-[0-9a-f]{4}-/i)
      const types = [...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name)
      expect(new Set(types).size, service).toBe(types.length)
    }
  })

  it('two scrapes at once tell the same metrics, again and again', async () => {
    const url = await metricsUrl(system, 'orchestrator')
    const names = async () => (await (await fetch(url)).text()).match(/^\w+/gm)
    for (let pair = 0; pair < 200; pair++) {
      const [one, other] = await Promise.all([names(), names()])
      expect(new Set(other)).toEqual(new Set(one))
    }
  })
})

describe('workers', () => {
  const ofWorker = async (worker: string) =>
    (await seriesOf('orchestrator')).filter(({ labels }) => labels['worker'] === worker)
  const untilTold = (worker: string) =>
    until(
      async () => {
        const own = await ofWorker(worker)
        return own.some(({ name }) => name === metricName('worker_pace_ratio')) && own
      },
      { everyMs: lookEveryMs, what: `the series of ${worker}` },
    )
  const untilGone = (worker: string) =>
    until(async () => (await ofWorker(worker)).length === 0, {
      everyMs: lookEveryMs,
      what: `no series of ${worker}`,
    })

  it('lose their series with their life, however it ends, and five of them are not too many', async () => {
    const [killed, stopped] = await Promise.all([
      startAnotherWorker(system, 'killed'),
      startAnotherWorker(system, 'stopped'),
    ])
    const own = await untilTold('killed')
    await untilTold('stopped')
    const all = await Promise.all(everyService.map(seriesOf))
    const told = all.reduce((sum, series) => sum + series.length, 0)
    expect(told + 2 * own.length, 'with five workers').toBeLessThanOrEqual(2_000)
    await killed.kill()
    await untilGone('killed')
    await stopped.stop()
    await untilGone('stopped')
    expect(await sumOf('workers', { state: 'ready' })).toBe(1)
  })
})
