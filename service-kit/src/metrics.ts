import {
  metrics as catalogue,
  type FailureCode,
  failureCodes,
  failures,
  type LabelsOf,
  type MeasuredService,
  type MetricSpec,
  metricPrefix,
  zerosOf,
} from '@avatar/contracts'
import type { Attributes, Meter } from '@opentelemetry/api'
import { MeterProvider } from '@opentelemetry/sdk-metrics'
import { ScrapeReader } from './scrape-reader.ts'

/** Why a publish was not stored and is tried again. */
export type PublishTrouble = LabelsOf<typeof catalogue.publish_retries_total>['reason']

/** The labels of a measurement; none are asked for where the metric has none. */
type Labelled<L> = keyof L extends never ? [] : [labels: L]

export type Counter<L> = { add(value: number, ...labels: Labelled<L>): void }
export type Histogram<L> = { record(value: number, ...labels: Labelled<L>): void }
/** Tells one series of a gauge; a label that is empty is left out. */
export type Tell<L> = (value: number, ...labels: Labelled<L>) => void
/** Read at each scrape. A series that `read` does not tell is gone. */
export type Gauge<L> = { observe(read: (tell: Tell<L>) => void | Promise<void>): void }

type InstrumentOf<Spec extends MetricSpec> = Spec['type'] extends 'counter'
  ? Counter<LabelsOf<Spec>>
  : Spec['type'] extends 'histogram'
    ? Histogram<LabelsOf<Spec>>
    : Gauge<LabelsOf<Spec>>

type Catalogue = Readonly<Record<string, MetricSpec>>
type InstrumentsIn<C extends Catalogue, S extends MeasuredService> = {
  readonly [K in keyof C as S extends C[K]['by'][number] ? K : never]: InstrumentOf<C[K]>
}

/** The instruments of a service, by their names in the catalogue. */
export type Instruments<S extends MeasuredService> = InstrumentsIn<typeof catalogue, S>

/** What every service has. */
type SharedInstruments = Pick<
  Instruments<'janitor'>,
  keyof Instruments<'ingest'> & keyof Instruments<'orchestrator'> & keyof Instruments<'janitor'>
>

/** The metrics of a process. */
export type Metrics = {
  /** The instruments of this service, and of no other. */
  of<S extends MeasuredService>(service: S): Instruments<S>
  readonly shared: SharedInstruments
  countFailure(code: FailureCode): void
  countDeadLetter(consumer: string, code: FailureCode): void
  /** Makes the series of a consumer, so that its first dead letter is an increase. */
  beginDeadLetters(consumer: string): void
  countPublishRetry(reason: PublishTrouble): void
  countLogLine(level: string): void
  countDroppedSpans(spans: number): void
  /** The current values in Prometheus' text format. */
  scrape(): Promise<string>
  /** Tells the errors of each scrape that lacks a metric; they are counted in any case. */
  onScrapeErrors(listener: (errors: readonly unknown[]) => void): void
  stop(): Promise<void>
}

/** The metrics of the catalogue that this service tells, by the OpenTelemetry SDK. */
export function createMetrics(service: MeasuredService): Metrics {
  const reader = new ScrapeReader()
  const provider = new MeterProvider({ readers: [reader] })
  const own = createInstruments(provider.getMeter(`avatar.${service}`), catalogue, service)
  const shared = own as unknown as SharedInstruments // TypeScript does not see that each service has them.
  let tellErrors: ((errors: readonly unknown[]) => void) | undefined
  const addDeadLetters = (letters: number, consumer: string, code: FailureCode) =>
    shared.dead_letters_total.add(letters, { consumer, code, blame: failures[code].blame })
  const levels: ReadonlySet<string> = new Set(catalogue.log_lines_total.labels.level)
  const isLevel = (level: string): level is LabelsOf<typeof catalogue.log_lines_total>['level'] =>
    levels.has(level)
  return {
    of<S extends MeasuredService>(other: S) {
      if (other !== (service as MeasuredService))
        throw new Error(`these are the metrics of ${service}, not of ${other}`)
      return own as unknown as Instruments<S> // By the line above.
    },
    shared,
    countLogLine: (level) => isLevel(level) && shared.log_lines_total.add(1, { level }),
    countDroppedSpans: (spans) => shared.spans_dropped_total.add(spans),
    countFailure: (code) => shared.failures_total.add(1, { code, blame: failures[code].blame }),
    countDeadLetter: (consumer, code) => addDeadLetters(1, consumer, code),
    beginDeadLetters(consumer) {
      for (const code of failureCodes) addDeadLetters(0, consumer, code)
    },
    countPublishRetry: (reason) => shared.publish_retries_total.add(1, { reason }),
    async scrape() {
      const { text, errors } = await reader.scrape()
      if (errors.length > 0) {
        shared.scrape_errors_total.add(errors.length)
        tellErrors?.(errors)
      }
      return text
    },
    onScrapeErrors(listener) {
      tellErrors = listener
    },
    stop: () => provider.shutdown(),
  }
}

/**
 * Makes the instruments of a service from a catalogue. A counter begins with 0 for all that its catalogue
 * entry lists; what is read at each scrape is told by whoever owns it.
 */
export function createInstruments<const C extends Catalogue, S extends MeasuredService>(
  meter: Meter,
  catalogue: C,
  service: S,
): InstrumentsIn<C, S> {
  const own = Object.entries(catalogue).filter(([, { by }]) => by.includes(service))
  const made = own.map(([key, spec]) => [key, createInstrument(meter, metricPrefix + key, spec)])
  return Object.fromEntries(made) // By the types above.
}

function createInstrument(meter: Meter, name: string, spec: MetricSpec): unknown {
  const { type, help: description, buckets } = spec
  switch (type) {
    case 'counter': {
      const counter = meter.createCounter(name, { description })
      for (const labels of zerosOf(spec)) counter.add(0, labels)
      return counter
    }
    case 'histogram':
      return meter.createHistogram(name, {
        description,
        advice: { explicitBucketBoundaries: [...(buckets ?? [])] },
      })
    case 'gauge': {
      const gauge = meter.createObservableGauge(name, { description })
      return {
        observe(read: (tell: (value: number, labels?: Attributes) => void) => void) {
          gauge.addCallback((observed) =>
            read((value, labels = {}) => observed.observe(value, withoutEmpty(labels))),
          )
        },
      }
    }
  }
}

/** For Prometheus an empty label is none. */
function withoutEmpty(labels: Attributes): Attributes {
  return Object.fromEntries(Object.entries(labels).filter(([, value]) => value !== ''))
}
