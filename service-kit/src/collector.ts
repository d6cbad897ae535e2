import type { Secret } from './config.ts'

/** Where spans go. */
export type Collector = {
  readonly url: string
  /** What it wants to see besides, such as a token. */
  readonly headers: Readonly<Record<string, string>>
}

/** The collector of a configuration; undefined where there is none, and tracing is off. */
export function collectorOf(config: {
  OTEL_EXPORTER_OTLP_ENDPOINT?: string | undefined
  OTEL_EXPORTER_OTLP_HEADERS?: Secret | undefined
}): Collector | undefined {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_EXPORTER_OTLP_HEADERS: given } = config
  if (endpoint === undefined) return undefined
  const url = `${endpoint.replace(/\/+$/, '')}/v1/traces`
  return { url, headers: headersOf(given?.reveal() ?? '') }
}

/** `name=value,name=value`, values percent-encoded, as OpenTelemetry writes them. */
export function headersOf(text: string): Record<string, string> {
  const pairs = text.split(',').flatMap((pair) => {
    const [, name = '', value = ''] = /^\s*([^=\s]+)\s*=\s*(.*?)\s*$/.exec(pair) ?? []
    return name === '' ? [] : [[name, decodeURIComponent(value)]]
  })
  return Object.fromEntries(pairs)
}
