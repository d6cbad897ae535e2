import {
  type Beat,
  beatSchema,
  dayOf,
  type PoolPrices,
  priceMicrosOf,
  subjects,
  type Timings,
  type WorkerPosting,
} from '@avatar/contracts'
import {
  asAppError,
  background,
  type Foundation,
  logFailure,
  type Runnable,
  subscription,
  together,
} from '@avatar/service-kit'

/** What one incarnation of a worker told last. */
type Heard = {
  posting: WorkerPosting
  day: string
  heardAtMs: number
  postedAtMs: number
  isDraining: boolean
  isDue: boolean
}

/**
 * Posts how each worker spends its time: every minute, when it begins to drain, and for the last time when
 * it has fallen silent. The latest posting counts, so another orchestrator may post the same.
 */
export function workerPostings(
  deps: Pick<Foundation, 'bus' | 'clock' | 'log' | 'timings'> & { prices: PoolPrices },
): Runnable {
  const { bus, clock, log, timings, prices } = deps
  const workers = createWorkersHeard(timings, prices)

  const beats = subscription({
    bus,
    subject: subjects.beat('*'),
    schema: beatSchema,
    handle: (beat) => workers.onBeat(beat, dayOf(clock.nowMs()), clock.monotonicMs()),
  })
  const loop = background({
    ...deps,
    name: 'worker postings',
    everyMs: timings.watchEveryMs,
    async pass(signal) {
      for (const { posting, day, posted } of workers.due(clock.monotonicMs())) {
        if (signal.aborted) return
        const { workerId, incarnation } = posting
        const subject = subjects.workerPosting(day, workerId, incarnation)
        try {
          await bus.publish(subject, posting, { timeoutMs: timings.publishInPassMs })
        } catch (error) {
          // Later ones have no better luck while the broker is away; a refused one never has.
          if (asAppError(error).mayRetry) throw error
          logFailure(log, error, 'worker posting refused', { workerId })
        }
        posted()
      }
    },
  })
  return together(beats, loop)
}

/** Which workers' time is to be posted. Pure: time is an argument, in monotonic ms. */
export function createWorkersHeard(
  timings: Pick<Timings, 'workerPostingEveryMs' | 'silentAfterMs'>,
  prices: PoolPrices,
) {
  const heard = new Map<string, Heard>()

  return {
    /** Takes in a heartbeat. One of an earlier version tells no time, and is left out. */
    onBeat(beat: Beat, day: string, nowMs: number): void {
      const { workerId, incarnation, pool, time, atMs } = beat
      if (!pool || !time) return
      const key = `${workerId} ${incarnation}`
      const before = heard.get(key)
      const isDraining = beat.state === 'draining' || beat.state === 'gone'
      heard.set(key, {
        posting: {
          ...{ workerId, incarnation, pool, atMs },
          priceMicros: priceMicrosOf(prices, pool),
          ...time,
        },
        day,
        heardAtMs: nowMs,
        postedAtMs: before?.postedAtMs ?? nowMs,
        isDraining,
        isDue: before?.isDue || (isDraining && !before?.isDraining),
      })
    },

    /** The postings to make now. Call `posted` for each that was made; the others come again. */
    due(nowMs: number): { posting: WorkerPosting; day: string; posted(): void }[] {
      return [...heard].flatMap(([key, worker]) => {
        const isSilent = nowMs - worker.heardAtMs > timings.silentAfterMs
        const isOld = nowMs - worker.postedAtMs >= timings.workerPostingEveryMs
        if (!isSilent && !isOld && !worker.isDue) return []
        const posted = () => {
          const latest = heard.get(key)
          if (!latest) return
          const hasSpoken = latest.heardAtMs !== worker.heardAtMs
          if (isSilent && !hasSpoken) heard.delete(key)
          else heard.set(key, { ...latest, postedAtMs: nowMs, isDue: false })
        }
        return [{ posting: worker.posting, day: worker.day, posted }]
      })
    },
  }
}
