import type { MetricSpec } from '@avatar/contracts'
import { MeterProvider } from '@opentelemetry/sdk-metrics'
import { afterEach, describe, expect, expectTypeOf, it } from 'vitest'
import { createInstruments, createMetrics, type Instruments } from './metrics.ts'
import { ScrapeReader } from './scrape-reader.ts'

const catalogue = {
  things_total: {
    by: ['ingest'],
    type: 'counter',
    help: 'Things',
    labels: { kind: ['a', 'b'], by: ['x', 'y'] },
  },
  others_total: { by: ['ingest'], type: 'counter', help: 'Others', labels: { name: null } },
  wait_seconds: {
    by: ['ingest', 'janitor'],
    type: 'histogram',
    help: 'Waits',
    labels: {},
    buckets: [0.5, 180],
  },
  temperature_celsius: {
    by: ['ingest'],
    type: 'gauge',
    help: 'Temperatures',
    labels: { worker: null, gpu: null },
  },
  load_ratio: { by: ['ingest'], type: 'gauge', help: 'Loads', labels: {} },
} as const satisfies Record<string, MetricSpec>

const providers: MeterProvider[] = []
afterEach(async () => {
  for (const provider of providers.splice(0)) await provider.shutdown()
})

function measured() {
  const reader = new ScrapeReader()
  const provider = new MeterProvider({ readers: [reader] })
  providers.push(provider)
  const instruments = createInstruments(provider.getMeter('test'), catalogue, 'ingest')
  const samples = async () => (await reader.scrape()).text.split('\n').filter(isSample)
  return { instruments, reader, samples }
}
const isSample = (line: string) => line !== '' && !line.startsWith('#')

describe('instruments', () => {
  it('take the labels of the catalogue, its values where they are a closed set, and no others', () => {
    type Own = Instruments<'orchestrator'>
    type Labels = Parameters<Own['queue_wait_seconds']['record']>[1]
    expectTypeOf<Labels>().toEqualTypeOf<{ readonly start: 'warm' | 'cold' }>()
    expectTypeOf<Parameters<Own['store_duration_seconds']['record']>>().toEqualTypeOf<[number]>()
    expectTypeOf<Own>().not.toHaveProperty('submit_duration_seconds')
    expectTypeOf<Instruments<'ingest'>>().toHaveProperty('submit_duration_seconds')
    const { instruments } = measured()
    expectTypeOf(instruments.things_total.add).toBeCallableWith(1, { kind: 'a', by: 'x' })
    expectTypeOf(instruments.things_total.add)
      .parameter(1)
      .toEqualTypeOf<{ readonly kind: 'a' | 'b'; readonly by: 'x' | 'y' }>()
  })

  it('of counters begin with 0 for each combination of closed sets', async () => {
    const { samples } = measured()
    expect(await samples()).toEqual(
      ['a', 'b'].flatMap((kind) =>
        ['x', 'y'].map((by) => `infinitetalk_things_total{kind="${kind}",by="${by}"} 0`),
      ),
    )
  })

  it('are those of one service', () => {
    const { instruments } = measured()
    expect(Object.keys(instruments)).toEqual(Object.keys(catalogue))
    const metrics = createMetrics('janitor')
    expect(Object.keys(metrics.of('janitor'))).toContain('objects_deleted_total')
    expect(() => metrics.of('ingest')).toThrow('of janitor, not of ingest')
    return metrics.stop()
  })

  it('leave out an empty label, which is none for Prometheus', async () => {
    const { instruments, samples } = measured()
    instruments.temperature_celsius.observe((tell) => tell(40, { worker: 'w1', gpu: '' }))
    expect(await samples()).toContain('infinitetalk_temperature_celsius{worker="w1"} 40')
  })
})

describe('a scrape', () => {
  it('lacks the series of a worker that is gone', async () => {
    const { instruments, samples } = measured()
    let workers = ['w1', 'w2']
    instruments.temperature_celsius.observe((tell) => {
      for (const worker of workers) tell(40, { worker, gpu: '0' })
    })
    const told = async () => (await samples()).filter((line) => line.includes('temperature'))
    expect(await told()).toHaveLength(2)
    workers = ['w2']
    expect(await told()).toEqual(['infinitetalk_temperature_celsius{worker="w2",gpu="0"} 40'])
    workers = []
    expect(await told()).toEqual([])
  })

  it('tells the same to all who ask at once', async () => {
    const { instruments, samples } = measured()
    instruments.temperature_celsius.observe(async (tell) => {
      await Promise.resolve()
      tell(40, { worker: 'w1', gpu: '0' })
    })
    for (let pairs = 0; pairs < 50; pairs++) {
      const [one, other] = await Promise.all([samples(), samples()])
      expect(one).toContain('infinitetalk_temperature_celsius{worker="w1",gpu="0"} 40')
      expect(other).toEqual(one)
    }
  })

  it('names the metrics that could not be read, and has all the others', async () => {
    const { instruments, reader } = measured()
    const broken = new Error('broken')
    instruments.temperature_celsius.observe(() => {
      throw broken
    })
    instruments.load_ratio.observe((tell) => tell(0.5))
    const { text, errors } = await reader.scrape()
    expect(errors).toEqual([broken])
    expect(text).toContain('infinitetalk_load_ratio 0.5')
  })

  it('has neither scope labels nor units of its own making', async () => {
    const { instruments, reader } = measured()
    instruments.wait_seconds.record(180)
    const { text } = await reader.scrape()
    expect(text).toContain('infinitetalk_wait_seconds_bucket{le="180"} 1')
    expect(text).not.toMatch(/otel_scope|# UNIT|target_info/)
  })
})

describe('the metrics of a service', () => {
  it('count and tell the errors of a scrape', async () => {
    const metrics = createMetrics('janitor')
    const told: unknown[] = []
    metrics.onScrapeErrors((errors) => told.push(...errors))
    metrics.shared.build_info.observe(() => {
      throw new Error('broken')
    })
    await metrics.scrape()
    expect(told).toEqual([new Error('broken')])
    expect(await metrics.scrape()).toContain('infinitetalk_scrape_errors_total 1\n')
    await metrics.stop()
  })

  it('begin with each code of a consumer, and count lines by levels that there are', async () => {
    const metrics = createMetrics('janitor')
    metrics.beginDeadLetters('janitor')
    metrics.countDeadLetter('janitor', 'INVALID_MESSAGE')
    metrics.countLogLine('warn')
    metrics.countLogLine('loud')
    const text = await metrics.scrape()
    const letters = 'infinitetalk_dead_letters_total{consumer="janitor"'
    expect(text).toContain(`${letters},code="INVALID_MESSAGE",blame="caller"} 1\n`)
    expect(text).toContain(`${letters},code="UNEXPECTED",blame="us"} 0\n`)
    expect(text).toContain('infinitetalk_log_lines_total{level="warn"} 1\n')
    expect(text).not.toContain('loud')
    await metrics.stop()
  })
})
