import {
  type Beat,
  buckets,
  isAtWork,
  isAwaited,
  recordOf,
  type ScaleSummary,
  scaleKey,
  scaleSummarySchema,
  type Wake,
  wakeSchema,
  wakeStates,
  type HealthView,
  type WorkerView,
  workerReasons,
} from '@avatar/contracts'
import { mirror } from '@avatar/job-kit'
import { type Bus, type Clock, type Log, type Runnable, together } from '@avatar/service-kit'

/** What the orchestrator does about workers, as far as it has told. */
export type ScaleView = Runnable & {
  /** Undefined until the orchestrator has told, and where nothing starts workers. */
  scaled(): ScaleSummary | undefined
  /** What `/health` says. */
  health(): HealthView['scale']
  /** The wake-ups of workers that are there or on their way. */
  open(): Wake[]
  /** What the orchestrator has told last, also where nothing starts workers. */
  summary(): ScaleSummary | undefined
}

/** Follows the wake-ups and the summary of what was decided. */
export async function followScale(deps: { bus: Bus; clock: Clock; log: Log }): Promise<ScaleView> {
  const { bus } = deps
  const summaries = await bus.records(buckets.meta, scaleSummarySchema)
  const told = mirror({
    ...deps,
    name: 'scale watch',
    // The bucket holds other values under other keys.
    records: { watch: (signal, onCurrent) => summaries.watch(signal, onCurrent, 0, scaleKey) },
  })
  const wakes = mirror({
    ...deps,
    name: 'wake watch',
    records: await bus.records(buckets.wake, wakeSchema),
  })
  const summary = () => told.values().get(scaleKey)
  const scaled = () => {
    const known = summary()
    return known?.provider === 'none' ? undefined : known
  }
  const ofPool = () => {
    const { provider, pool } = scaled() ?? {}
    return [...wakes.values().values()].filter(
      (wake) => wake.provider === provider && wake.pool === pool,
    )
  }

  return {
    ...together(told, wakes),
    scaled,
    summary,
    open: () => ofPool().filter((wake) => isAwaited(wake) || isAtWork(wake)),
    health() {
      const known = summary()
      if (!known) return null
      const { provider, wanted, reason } = known
      const states = ofPool()
      const count = (state: Wake['state']) => states.filter((wake) => wake.state === state).length
      return { provider, wanted, reason, wakes: recordOf(wakeStates, count) }
    },
  }
}

/** When the worker of a wake-up should be ready, by what was learned of its pool. */
export function readyAtMs(wake: Wake, { coldStartSeconds }: ScaleSummary): number {
  return wake.readyAtMs ?? wake.intendedAtMs + coldStartSeconds * 1000
}

/** Reasons for which no worker is to be expected. */
const hopeless: ReadonlySet<ScaleSummary['reason']> = new Set([
  'no_capacity',
  'provider_away',
  'budget_reached',
  'no_worker_configured',
])

/** Until each worker is ready that was asked for and is not heard yet; of one to come, if none was. */
export function arrivalsInSeconds(
  scale: Pick<ScaleView, 'scaled' | 'open'>,
  heard: ReadonlySet<string>,
  nowMs: number,
): number[] {
  const summary = scale.scaled()
  if (!summary) return []
  const open = scale.open()
  const unheard = open.filter(({ workerId }) => workerId === undefined || !heard.has(workerId))
  const seconds = unheard.map((wake) => Math.max(0, readyAtMs(wake, summary) - nowMs) / 1000)
  const mayCome = open.length === 0 && heard.size === 0 && !hopeless.has(summary.reason)
  return mayCome ? [summary.coldStartSeconds] : seconds
}

/** What a waiting job is told of the worker that it waits for; `stages` are those of loaded workers. */
export function workerView(
  queuedAtMs: number,
  scale: Pick<ScaleView, 'summary' | 'scaled' | 'open'>,
  beats: readonly Beat[],
  nowMs: number,
): WorkerView {
  const summary = scale.summary()
  const open = scale.open()
  const loading = beats.find(({ state }) => state === 'loading')
  const nearest = open.toSorted((a, b) => stageOf(b) - stageOf(a) || a.intendedAtMs - b.intendedAtMs)[0]
  const expectedMs = nearest && summary && Math.max(nowMs, readyAtMs(nearest, summary))
  const about = { expected_ready_at: expectedMs === undefined ? null : instant(expectedMs) }
  if (beats.some(({ state }) => state === 'ready'))
    return { state: 'ready', since: instant(nearest?.readyAtMs ?? queuedAtMs), ...about }
  if (loading) {
    const { wakeId, loading: part } = loading
    const wake = open.find((each) => each.wakeId === wakeId)
    const percent = part === undefined ? {} : { percent: Math.round(part.percent * 10) / 10 }
    return { state: 'loading', since: instant(wake?.startedAtMs ?? queuedAtMs), ...percent, ...about }
  }
  if (nearest && isAtWork(nearest))
    return { state: 'starting', since: instant(nearest.startedAtMs ?? queuedAtMs), ...about }
  const why = reasonOf(summary)
  if (nearest) return { state: 'requested', since: instant(nearest.intendedAtMs), ...about, ...why }
  const sinceMs = why.reason ? Math.max(queuedAtMs, summary?.sinceMs ?? 0) : queuedAtMs
  return { state: 'none', since: instant(Math.min(nowMs, sinceMs)), ...about, ...why }
}

/** The further a wake-up is, the sooner its worker is there. */
function stageOf({ state }: Wake): number {
  return wakeStates.indexOf(state)
}

function reasonOf(summary: ScaleSummary | undefined): Pick<NonNullable<WorkerView>, 'reason' | 'until'> {
  const reason = workerReasons.find((known) => known === summary?.reason)
  if (!reason) return summary?.provider === 'none' ? { reason: 'no_worker_configured' } : {}
  return { reason, ...(summary?.untilMs === undefined ? {} : { until: instant(summary.untilMs) }) }
}

const instant = (ms: number) => new Date(ms).toISOString()
