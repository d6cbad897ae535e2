/** The bounds that several panels draw; the alerts stand by the same. */
export const promises = {
  /** A generation, by the specification. */
  generatedWithinSeconds: 180,
  /** From queued to claimed while a worker is loaded. */
  startedWithinSeconds: 30,
  deletedWithinSeconds: 900,
  apiAvailable: 0.999,
  jobsSucceed: 0.99,
  inTime: 0.95,
} as const

/** Quantiles of a histogram, each as a query with its legend. */
export function quantiles(
  histogram: string,
  quantiles: readonly number[],
  by: readonly string[] = [],
): Record<string, string> {
  const labels = ['le', ...by].join(', ')
  const series = by.map((label) => ` {{${label}}}`).join('')
  return Object.fromEntries(
    quantiles.map((quantile) => [
      `P${Math.round(quantile * 100)}${series}`,
      `histogram_quantile(${quantile}, sum by (${labels}) (rate(${histogram}[$__rate_interval])))`,
    ]),
  )
}

/**
 * The part of a histogram's observations up to a bound, over the time that is shown. Prometheus 3 spells
 * the bound 30 as 30.0.
 */
export function partWithin(name: string, bound: number, labels = ''): string {
  const within = `${labels ? `${labels}, ` : ''}le=~"${bound}|${bound}[.]0"`
  return (
    `sum(increase(${name}_bucket{${within}}[$__range])) / ` +
    `sum(increase(${name}_count${labels ? `{${labels}}` : ''}[$__range]))`
  )
}

/** How often a counter rises in an hour. Jobs are too few for rates by the second. */
export const hourly = (counter: string, by: string) =>
  `sum by (${by}) (rate(${counter}[$__rate_interval])) * 3600`

/** A gauge that each replica of the orchestrator tells: the same figure several times, not several parts. */
export const toldOnce = (gauge: string, by: string) => `max by (${by}) (${gauge})`

/**
 * P95 of the spans of this name. Tempo makes this metric of the traces and marks single spans in it, which
 * lead to their traces.
 */
export const quantileOfSpan = (name: string) =>
  `histogram_quantile(0.95, sum by (le) (rate(traces_spanmetrics_latency_bucket{span_name="${name}"}[$__rate_interval])))`
