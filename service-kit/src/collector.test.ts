import { expect, it } from 'vitest'
import { z } from 'zod'
import { collectorOf } from './collector.ts'
import { ConfigError, loadConfig, runtimeConfig } from './config.ts'

const schema = z.object(runtimeConfig)
const collector = (env: Record<string, string>) =>
  collectorOf(loadConfig(schema, { METRICS_PORT: '0', ...env }))

it('is none without an address', () => {
  expect(collector({})).toBeUndefined()
  expect(collector({ OTEL_EXPORTER_OTLP_ENDPOINT: '' })).toBeUndefined()
  expect(collector({ OTEL_EXPORTER_OTLP_HEADERS: 'authorization=x' })).toBeUndefined()
})

it('takes spans below its base URL, with the headers that it wants', () => {
  const url = 'https://collector.example/otlp/v1/traces'
  for (const base of ['https://collector.example/otlp', 'https://collector.example/otlp/'])
    expect(collector({ OTEL_EXPORTER_OTLP_ENDPOINT: base })).toEqual({ url, headers: {} })
  expect(
    collector({
      OTEL_EXPORTER_OTLP_ENDPOINT: 'https://collector.example/otlp',
      OTEL_EXPORTER_OTLP_HEADERS: 'Authorization=Basic%20YTpiPQ==, x-scope = avatar,',
    }),
  ).toEqual({ url, headers: { Authorization: 'Basic YTpiPQ==', 'x-scope': 'avatar' } })
})

it('is refused where it can be no collector, and its headers are never shown', () => {
  const wrong = () => collector({ OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' })
  expect(wrong).toThrow(ConfigError)
  expect(() => collector({ OTEL_EXPORTER_OTLP_HEADERS: 'authorization=%zz' })).toThrow(ConfigError)
  const config = loadConfig(schema, { METRICS_PORT: '0', OTEL_EXPORTER_OTLP_HEADERS: 'a=sesame' })
  expect(JSON.stringify(config)).not.toContain('sesame')
})
