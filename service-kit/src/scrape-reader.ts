import { PrometheusSerializer } from '@opentelemetry/exporter-prometheus'
import { AggregationTemporality, InstrumentType, MetricReader } from '@opentelemetry/sdk-metrics'

/** What one scrape found: the text, and the errors of callbacks, whose metrics it lacks. */
export type Scrape = { text: string; errors: readonly unknown[] }

/**
 * Reads the instruments of a process for Prometheus. The reader that comes with the exporter would tell the
 * last value of a gauge for ever, also of a worker that is gone, and would lose a callback that throws
 * without a word.
 */
export class ScrapeReader extends MetricReader {
  readonly #serializer = new PrometheusSerializer('', false, undefined, true, true)
  #underWay: Promise<Scrape> | undefined

  constructor() {
    super({
      // As differences, a gauge has the series that were observed in this scrape, and no others.
      aggregationTemporalitySelector: (type) =>
        type === InstrumentType.OBSERVABLE_GAUGE
          ? AggregationTemporality.DELTA
          : AggregationTemporality.CUMULATIVE,
    })
  }

  /** Whoever asks while a scrape is under way shares it: of two at once, one would lack the gauges. */
  scrape(): Promise<Scrape> {
    this.#underWay ??= this.#read().finally(() => {
      this.#underWay = undefined
    })
    return this.#underWay
  }

  async #read(): Promise<Scrape> {
    const { resourceMetrics, errors } = await this.collect()
    return { text: this.#serializer.serialize(resourceMetrics), errors }
  }

  protected override async onShutdown() {
    // It holds nothing: the instruments do.
  }

  protected override async onForceFlush() {
    // Prometheus comes by itself.
  }
}
