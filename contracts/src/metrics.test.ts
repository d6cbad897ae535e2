import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { failureCodes } from './failures.ts'
import { type MetricSpec, zerosOf } from './metric-spec.ts'
import { metrics } from './metrics.ts'
import { jobFailureCodes } from './metrics-of-orchestrator.ts'

const catalogue: readonly (readonly [string, MetricSpec])[] = Object.entries(metrics)

describe('the catalogue of metrics', () => {
  it.each(catalogue)('%s is named and described as Prometheus has it', (name, spec) => {
    expect(name).toMatch(/^[a-z]+(_[a-z]+)*$/)
    expect(name.endsWith('_total'), 'counters, and only they, end with _total').toBe(
      spec.type === 'counter',
    )
    expect(spec.help).toMatch(/^[^\n]{2,}[^.\n]$/)
    const { buckets = [] } = spec
    expect(buckets.length > 0).toBe(spec.type === 'histogram')
    expect([...buckets].sort((a, b) => a - b)).toEqual(buckets)
  })

  it.each(catalogue)('%s begins with series that its labels allow', (_name, spec) => {
    const zeros = zerosOf(spec)
    expect(new Set(zeros.map((labels) => JSON.stringify(labels))).size).toBe(zeros.length)
    for (const labels of zeros) {
      expect(Object.keys(labels).sort()).toEqual(Object.keys(spec.labels).sort())
      for (const [label, value] of Object.entries(labels))
        expect(spec.labels[label] ?? [value]).toContain(value)
    }
  })

  it('has 180 s as a bound of a generation, and higher ones: a quantile is exact there', () => {
    const { buckets } = metrics.render_duration_seconds
    expect(buckets.indexOf(180)).toBeGreaterThan(0)
    expect(Math.max(...buckets)).toBeGreaterThan(180)
  })

  it('begins with every code by which a worker can end an attempt', () => {
    const source = join(import.meta.dirname, '../../inference-sidecar/src')
    const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
    const texts = files
      .filter((file) => file.endsWith('.py') && !file.endsWith('contracts.py'))
      .map((file) => readFileSync(join(source, file), 'utf8'))
    const words = new Set(texts.flatMap((text) => text.match(/"[A-Z]+(?:_[A-Z]+)+"/g) ?? []))
    const ofBus = ['BROKER_UNAVAILABLE', 'STORAGE_FULL'] // Of a publish, which is tried again.
    const told = failureCodes.filter((code) => words.has(`"${code}"`) && !ofBus.includes(code))
    expect(told.length).toBeGreaterThan(5)
    expect(jobFailureCodes).toEqual(expect.arrayContaining(told))
  })
})
