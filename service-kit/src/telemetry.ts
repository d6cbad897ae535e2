import type { Meter } from '@opentelemetry/api'
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { MeterProvider } from '@opentelemetry/sdk-metrics'

/** The instruments of a service, and the text that Prometheus scrapes. */
export type Metrics = {
  readonly meter: Meter
  /** The current values in Prometheus' text format. */
  scrape(): Promise<string>
  stop(): Promise<void>
}

/**
 * Metrics by the OpenTelemetry SDK. Name instruments `infinitetalk_<what>_<unit>` yourself: the
 * exporter does not append units. Default buckets are for milliseconds: give boundaries in the
 * instrument's unit. Labels are closed sets, never a job's id.
 */
export function createMetrics(service: string): Metrics {
  const exporter = new PrometheusExporter({ preventServerStart: true })
  const provider = new MeterProvider({
    resource: resourceFromAttributes({ 'service.name': service }),
    readers: [exporter],
  })
  return {
    meter: provider.getMeter(`avatar.${service}`),
    scrape: () => scrape(exporter),
    stop: () => provider.shutdown(),
  }
}

/** The exporter writes to an HTTP response and to nothing else; this one only collects. */
function scrape(exporter: PrometheusExporter): Promise<string> {
  return new Promise((resolve) => {
    const response = { statusCode: 200, setHeader: () => response, end: resolve }
    exporter.getMetricsRequestHandler({} as never, response as never) // It reads neither further.
  })
}
