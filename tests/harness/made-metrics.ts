import { once } from 'node:events'
import { createServer } from 'node:http'
import { type MetricSpec, metricPrefix } from '@avatar/contracts'

/** What a label says where only a running system knows its values. */
const anyValue = 'made'

/** A series of another program than ours. */
export type MadeSeries = Pick<MetricSpec, 'type' | 'buckets'> & {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
}

/**
 * Serves plausible values under names that a system does not tell: of a GPU where there is none, of a bill
 * that nobody sent. Histograms grow with each scrape.
 *
 * @param foreign what is not in the catalogue
 */
export async function serveMadeMetrics(foreign: readonly MadeSeries[] = []) {
  let specs: Readonly<Record<string, MetricSpec>> = {}
  let scrapes = 0
  const server = createServer((_, answer) => {
    scrapes += 1
    const metrics = Object.entries(specs).flatMap(([key, spec]) =>
      combinations(spec.labels).flatMap((labels) =>
        samplesOf(metricPrefix + key, spec, { ...labels, job: spec.by[0] ?? '' }, scrapes),
      ),
    )
    const others = foreign.flatMap((series) =>
      samplesOf(series.name, series, series.labels, scrapes),
    )
    answer.setHeader('content-type', 'text/plain; version=0.0.4')
    answer.end(`${[...metrics, ...others].join('\n')}\n`)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    /** From the next scrape on, tells these metrics as well. */
    tell(more: Readonly<Record<string, MetricSpec>>) {
      specs = { ...specs, ...more }
    },
    async stop() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

function samplesOf(
  name: string,
  { type, buckets = [] }: Pick<MetricSpec, 'type' | 'buckets'>,
  labels: Readonly<Record<string, string>>,
  scrapes: number,
): string[] {
  if (type === 'histogram') return observations(name, labels, buckets, scrapes)
  return [sample(name, labels, type === 'counter' ? scrapes : plausible(name))]
}

/** One observation at each scrape, all below the first bound. */
function observations(
  name: string,
  labels: Readonly<Record<string, string>>,
  buckets: readonly number[],
  scrapes: number,
): string[] {
  const bounds = [...buckets.map(String), '+Inf']
  return [
    ...bounds.map((le) => sample(`${name}_bucket`, { ...labels, le }, scrapes)),
    sample(`${name}_sum`, labels, scrapes * (buckets[0] ?? 1)),
    sample(`${name}_count`, labels, scrapes),
  ]
}

function sample(name: string, labels: Readonly<Record<string, string>>, value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}=${JSON.stringify(text)}`)
  return `${name}{${pairs.join(',')}} ${value}`
}

/** By the unit, which is in the name. */
function plausible(name: string): number {
  if (name.endsWith('_timestamp_seconds')) return Date.now() / 1000
  if (name.endsWith('_ratio')) return 0.5
  if (name.endsWith('_bytes')) return 2 ** 34
  if (name.endsWith('_celsius')) return 65
  if (name.endsWith('_watts')) return 300
  return 1
}

function combinations(labels: MetricSpec['labels']): Record<string, string>[] {
  return Object.entries(labels).reduce<Record<string, string>[]>(
    (all, [label, values]) =>
      all.flatMap((one) => (values ?? [anyValue]).map((value) => ({ ...one, [label]: value }))),
    [{}],
  )
}
