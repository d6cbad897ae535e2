/**
 * Two objectives over 30 days: the API answers 99.9 % of its requests, and 99 % of jobs succeed. An alert
 * follows from how fast what may fail is used up, over a long and a short window together: the long one
 * says that it matters, the short one that it has not ended.
 */
import type { Alert, AlertCase } from './alert.ts'

export type RecordingRule = { readonly record: string; readonly expr: string }

const windows = ['5m', '30m', '1h', '2h', '6h', '1d', '3d'] as const
type Window = (typeof windows)[number]

const requests = 'infinitetalk_http_request_duration_seconds_count'
const jobs = 'infinitetalk_jobs_finished_total'
const ended = `${jobs}{outcome=~"completed|failed",blame!="caller"}`

/** No failure yet is 0 and not nothing; no traffic is nothing and not NaN. */
const ratio = (failed: string, all: string, window: Window) =>
  `(sum(rate(${failed}[${window}])) or vector(0)) / (sum(rate(${all}[${window}])) > 0)`

/** Event streams are no requests: `http_request_duration_seconds` leaves them out. */
const apiErrors = (window: Window) => `slo:api_errors:ratio_rate${window}`
/** Callers' failures and cancellations are left out. */
const jobsFailed = (window: Window) => `slo:jobs_failed:ratio_rate${window}`
const jobsEnded = (window: '1h' | '1d') => `slo:jobs_ended:increase${window}`

export const recordingRules: readonly RecordingRule[] = [
  ...windows.map((window) => ({
    record: apiErrors(window),
    expr: ratio(`${requests}{status=~"5.."}`, requests, window),
  })),
  ...windows.map((window) => ({
    record: jobsFailed(window),
    expr: ratio(`${jobs}{outcome="failed",blame!="caller"}`, ended, window),
  })),
  ...(['1h', '1d'] as const).map((window) => ({
    record: jobsEnded(window),
    expr: `sum(increase(${ended}[${window}]))`,
  })),
]

/** What each recorded series is after these samples, of one metric whose other labels do not matter. */
export const recordingCases = [
  {
    why: 'one request in 50 fails',
    expr: apiErrors('5m'),
    series: { [`${requests}{status="200"}`]: '0+98x20', [`${requests}{status="503"}`]: '0+2x20' },
    value: 0.02,
  },
  {
    why: 'no request failed yet',
    expr: apiErrors('5m'),
    series: { [`${requests}{status="200"}`]: '0+98x20' },
    value: 0,
  },
  {
    why: 'nobody asks',
    expr: apiErrors('5m'),
    series: { [`${requests}{status="200"}`]: '5x20' },
    value: undefined,
  },
  {
    why: 'one job in four fails, callers left out',
    expr: jobsFailed('30m'),
    series: {
      [`${jobs}{outcome="completed",blame="none"}`]: '0+3x60',
      [`${jobs}{outcome="failed",blame="us"}`]: '0+1x60',
      [`${jobs}{outcome="failed",blame="caller"}`]: '0+9x60',
      [`${jobs}{outcome="cancelled",blame="none"}`]: '0+9x60',
    },
    value: 0.25,
  },
] as const

type Budget = {
  readonly name: 'ApiErrorBudget' | 'JobErrorBudget'
  /** The part that may fail. */
  readonly allowed: number
  readonly ratioOver: (window: Window) => string
  readonly what: string
  /** How many must have been there at all. */
  readonly atLeast?: { readonly fast: number; readonly slow: number }
}

const budgets: readonly Budget[] = [
  { name: 'ApiErrorBudget', allowed: 0.001, ratioOver: apiErrors, what: 'requests fail' },
  {
    name: 'JobErrorBudget',
    allowed: 0.01,
    ratioOver: jobsFailed,
    what: 'jobs fail',
    atLeast: { fast: 10, slow: 20 },
  },
]

type Pair = { readonly rate: number; readonly long: Window; readonly short: Window }
const fast: readonly [Pair, Pair] = [
  { rate: 14.4, long: '1h', short: '5m' },
  { rate: 6, long: '6h', short: '30m' },
]
const slow: readonly [Pair, Pair] = [
  { rate: 3, long: '1d', short: '2h' },
  { rate: 1, long: '3d', short: '6h' },
]

export const objectiveAlerts: readonly Alert[] = budgets.flatMap((budget): readonly Alert[] => [
  burn(budget, {
    ...{ speed: 'Fast', severity: 'page', holds: '2m', pairs: fast },
    summary: `So many ${budget.what} that the budget of 30 days will be spent in five days or sooner.`,
    ...(budget.atLeast ? { least: { of: jobsEnded('1h'), count: budget.atLeast.fast } } : {}),
  }),
  burn(budget, {
    ...{ speed: 'Slow', severity: 'ticket', holds: '15m', pairs: slow },
    summary: `So many ${budget.what} that the budget of 30 days will not last.`,
    ...(budget.atLeast ? { least: { of: jobsEnded('1d'), count: budget.atLeast.slow } } : {}),
  }),
])

type Burn = {
  readonly speed: 'Fast' | 'Slow'
  readonly severity: 'page' | 'ticket'
  readonly holds: string
  readonly pairs: readonly [Pair, Pair]
  readonly summary: string
  readonly least?: { readonly of: string; readonly count: number }
}

function burn({ name, allowed, ratioOver }: Budget, how: Burn): Alert {
  const { pairs, least } = how
  const limit = (rate: number) => Number((rate * allowed).toPrecision(6))
  const isBurning = pairs
    .map(
      ({ rate, long, short }) =>
        `(${ratioOver(long)} > ${limit(rate)} and ${ratioOver(short)} > ${limit(rate)})`,
    )
    .join(' or ')
  /** The parts of the first pair, then of the second, as multiples of their own rates. */
  const at = (why: string, ...parts: [number, number, number, number]): AlertCase => ({
    why,
    at: '30m',
    series: {
      ...Object.fromEntries(
        pairs
          .flatMap(({ rate, long, short }) => [[rate, long] as const, [rate, short] as const])
          .map(([rate, window], at) => [ratioOver(window), `${limit(rate * (parts[at] ?? 0))}x40`]),
      ),
      ...(least ? { [least.of]: `${1.5 * least.count}x40` } : {}),
    },
  })
  const [first, second] = pairs.map(({ long, short }) => `${long} and ${short}`)
  const few = (least: { of: string; count: number }): AlertCase => {
    const burning = at(`fewer than ${least.count} jobs`, 1.5, 1.5, 1.5, 1.5)
    return { ...burning, series: { ...burning.series, [least.of]: `${0.75 * least.count}x40` } }
  }
  return {
    name: `${name}${how.speed}Burn`,
    severity: how.severity,
    for: how.holds,
    expr: least ? `(${isBurning}) and ${least.of} >= ${least.count}` : isBurning,
    summary: how.summary,
    fires: [at(`${first}`, 1.5, 1.5, 0.1, 0.1), at(`${second}`, 0.1, 0.1, 1.5, 1.5)],
    quiet: [
      at(`${first}, the long one under its bound`, 0.75, 1.5, 0.1, 0.1),
      at(`${first}, the short one under its bound`, 1.5, 0.75, 0.1, 0.1),
      at(`${second}, the long one under its bound`, 0.1, 0.1, 0.75, 1.5),
      at(`${second}, the short one under its bound`, 0.1, 0.1, 1.5, 0.75),
      ...(least ? [few(least)] : []),
    ],
  }
}
