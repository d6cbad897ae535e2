import { type FailureCode, failures } from '@avatar/contracts'
import type { Meter } from '@opentelemetry/api'
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { MeterProvider } from '@opentelemetry/sdk-metrics'

/** Why a publish was not stored and is tried again. */
export type PublishTrouble = 'no_responders' | 'timeout' | 'disconnected' | 'full' | 'other'

/** The instruments of a service, and the text that Prometheus scrapes. */
export type Metrics = {
  readonly meter: Meter
  countFailure(code: FailureCode): void
  countDeadLetter(consumer: string, code: FailureCode): void
  countPublishRetry(reason: PublishTrouble): void
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
  const serializer = new PrometheusSerializer()
  const provider = new MeterProvider({
    resource: resourceFromAttributes({ 'service.name': service }),
    readers: [exporter],
  })
  const meter = provider.getMeter(`avatar.${service}`)
  const failed = meter.createCounter('infinitetalk_failures_total', {
    description: 'Failures that were logged, by code and by whom the failure table blames',
  })
  const deadLettered = meter.createCounter('infinitetalk_dead_letters_total', {
    description: 'Messages that went to the dead-letter stream, by consumer, code and blame',
  })
  const retried = meter.createCounter('infinitetalk_publish_retries_total', {
    description: 'Publishes that were not stored and are tried again, by reason',
  })
  return {
    meter,
    countFailure: (code) => failed.add(1, { code, blame: failures[code].blame }),
    countDeadLetter: (consumer, code) =>
      deadLettered.add(1, { consumer, code, blame: failures[code].blame }),
    countPublishRetry: (reason) => retried.add(1, { reason }),
    scrape: async () => serializer.serialize((await exporter.collect()).resourceMetrics),
    stop: () => provider.shutdown(),
  }
}
