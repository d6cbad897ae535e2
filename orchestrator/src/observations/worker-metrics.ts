import { type Beat, beatSchema, subjects } from '@avatar/contracts'
import {
  background,
  type Foundation,
  type Instruments,
  type Runnable,
  subscription,
  together,
} from '@avatar/service-kit'
import { createWarmTimes } from './warm-times.ts'
import { createWorkersSeen, type WorkerSeen } from './workers-seen.ts'

const beatsUntilAllAreHeard = 3
const workerStates = ['loading', 'ready', 'rendering', 'draining'] as const

/** Tells the workers, and when one of them was of use. */
export type WorkerMetrics = Runnable & { wasWarmAt(atMs: number): boolean }

/**
 * Tells each worker by its heartbeats. Whatever belongs to one worker is read at the scrape, so that it is
 * gone with its worker.
 */
export function workerMetrics(
  deps: Pick<Foundation, 'bus' | 'clock' | 'log' | 'metrics' | 'timings'>,
): WorkerMetrics {
  const { bus, clock, timings } = deps
  const instruments = deps.metrics.of('orchestrator')
  const workers = createWorkersSeen(timings)
  const warmTimes = createWarmTimes()
  const alive = () => workers.alive(clock.monotonicMs())
  const hearsAllFromMs = clock.monotonicMs() + beatsUntilAllAreHeard * timings.beatEveryMs
  function noteWarmth() {
    const isWarm = alive().some(isOfUse)
    // Whoever is there has not spoken yet when we have only just begun to listen.
    if (isWarm || clock.monotonicMs() > hearsAllFromMs) warmTimes.note(isWarm, clock.nowMs())
  }

  observeWorkers(instruments, alive, () => clock.monotonicMs())
  observeGpus(instruments, alive)

  return {
    ...together(
      subscription({
        bus,
        subject: subjects.beat('*'),
        schema: beatSchema,
        handle(beat: Beat) {
          for (const { stage, seconds } of workers.onBeat(beat, clock.monotonicMs()))
            instruments.worker_start_seconds.record(seconds, { stage })
          noteWarmth()
        },
      }),
      background({
        ...deps,
        name: 'worker metrics',
        everyMs: timings.watchEveryMs,
        // A worker that falls silent tells nobody.
        pass: async () => noteWarmth(),
      }),
    ),
    wasWarmAt: warmTimes.wasWarmAt,
  }
}

function isOfUse({ beat: { state } }: WorkerSeen): boolean {
  return state === 'ready' || state === 'rendering'
}

function observeWorkers(
  instruments: Instruments<'orchestrator'>,
  alive: () => WorkerSeen[],
  nowMs: () => number,
) {
  instruments.workers.observe((tell) => {
    const seen = alive()
    for (const state of workerStates)
      tell(seen.filter(({ beat }) => beat.state === state).length, { state })
  })
  instruments.worker_info.observe((tell) => {
    for (const { beat } of alive()) {
      const { workerId: worker, engine, engineFacts, paceKey } = beat
      const device = engineFacts?.device ?? paceKey?.device ?? ''
      tell(1, { worker, engine, device, precision: engineFacts?.precision ?? '' })
    }
  })
  instruments.worker_pace_ratio.observe((tell) => {
    for (const { beat } of alive())
      if (beat.secondsPerVideoSecond !== null)
        tell(beat.secondsPerVideoSecond, { worker: beat.workerId })
  })
  instruments.worker_seen_seconds.observe((tell) => {
    for (const { beat, heardAtMs } of alive())
      tell((nowMs() - heardAtMs) / 1000, { worker: beat.workerId })
  })
  instruments.worker_loading_seconds.observe((tell) => {
    for (const { beat, loadingSinceMs } of alive()) {
      const labels = { worker: beat.workerId, stage: beat.starting?.stage ?? '' }
      if (loadingSinceMs !== undefined) tell((nowMs() - loadingSinceMs) / 1000, labels)
    }
  })
  instruments.render_stalled_seconds.observe((tell) => {
    for (const { beat, movedAtMs } of alive())
      if (movedAtMs !== undefined) tell((nowMs() - movedAtMs) / 1000, { worker: beat.workerId })
  })
  instruments.disk_free_ratio.observe((tell) => {
    for (const { beat } of alive())
      if (beat.diskFree !== undefined)
        tell(beat.diskFree, { volume: 'spool', worker: beat.workerId })
  })
}

/** A driver that does not know a figure leaves it out. */
function observeGpus(instruments: Instruments<'orchestrator'>, alive: () => WorkerSeen[]) {
  const figures = [
    ['gpu_utilization_ratio', ({ utilization }) => utilization],
    ['gpu_memory_used_bytes', ({ memoryUsedBytes }) => memoryUsedBytes],
    ['gpu_memory_total_bytes', ({ memoryTotalBytes }) => memoryTotalBytes],
    ['gpu_temperature_celsius', ({ temperatureCelsius }) => temperatureCelsius],
    ['gpu_power_watts', ({ powerWatts }) => powerWatts],
    [
      'gpu_throttled',
      ({ isThrottled }) => (isThrottled === undefined ? undefined : Number(isThrottled)),
    ],
  ] as const satisfies readonly (readonly [
    keyof Instruments<'orchestrator'>,
    (gpu: NonNullable<Beat['gpus']>[number]) => number | undefined,
  ])[]
  for (const [name, read] of figures)
    instruments[name].observe((tell) => {
      for (const { beat } of alive())
        for (const gpu of beat.gpus ?? []) {
          const value = read(gpu)
          if (value !== undefined) tell(value, { worker: beat.workerId, gpu: String(gpu.index) })
        }
    })
}
