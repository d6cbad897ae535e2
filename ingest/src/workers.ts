import { type Beat, beatSchema, type HeldJob, type Offers, subjects } from '@avatar/contracts'
import { type Foundation, subscription } from '@avatar/service-kit'

/** Of a worker that has not ended. */
export type LiveBeat = Beat & { state: Exclude<Beat['state'], 'gone'> }

/** The workers, as their latest heartbeats describe them. */
export type Workers = ReturnType<typeof createWorkers>

/** Follows the workers' heartbeats. `onBeat` is called once a heartbeat has been taken in. */
export function createWorkers(
  deps: Pick<Foundation, 'bus' | 'clock' | 'timings'> & { onBeat: (beat: Beat) => void },
) {
  const { bus, clock, timings, onBeat } = deps
  /** What the workers of each pool and engine told last. Names of workers may be new at each start. */
  const told = new Map<string, { pool: string | undefined; offers: Offers | undefined }>()
  const latest = new Map<string, { beat: LiveBeat; atMs: number; aheadMs: number }>()

  /**
   * Workers whose latest heartbeat is recent, including those that still load their engine, and how far
   * their clock is ahead of the broker's.
   */
  const alive = () => {
    const nowMs = clock.monotonicMs()
    for (const [id, { atMs }] of latest) if (nowMs - atMs > timings.silentAfterMs) latest.delete(id)
    return [...latest.values()].map(({ atMs, ...one }) => ({ ...one, seenMsAgo: nowMs - atMs }))
  }

  return {
    alive,
    /** How many of them take jobs, now or once their engine is loaded. */
    serving: () => alive().filter(({ beat }) => beat.state !== 'draining').length,
    /** What workers have told that they can do, those included that are not there now. */
    toldByPool: () => [...told.values()],
    /** Why no worker renders, or will soon; null when one does, or when nothing waits for one. */
    trouble(queueDepth: number): string | null {
      const beats = alive().map(({ beat }) => beat)
      if (beats.some(({ state, trouble }) => state !== 'draining' && !trouble)) return null
      const sick = beats.find(({ trouble }) => trouble)
      if (sick) return `The engine ${sick.engine} does not load: ${sick.trouble}`
      if (queueDepth === 0) return null
      const who = beats.length === 0 ? 'No worker is connected' : 'Every worker is about to end'
      return `${who}, and jobs wait: ${queueDepth}.`
    },
    /** What its worker last said about a job of this epoch, and how long ago. */
    heldOf(jobId: string, epoch: number): (HeldJob & { seenMsAgo: number }) | undefined {
      for (const { beat, atMs } of latest.values())
        for (const held of beat.jobs)
          if (held.jobId === jobId && held.epoch === epoch)
            return { ...held, seenMsAgo: clock.monotonicMs() - atMs }
      return undefined
    },
    ...subscription({
      bus,
      subject: subjects.beat('*'),
      schema: beatSchema,
      handle(beat) {
        const { state } = beat
        const aheadMs = beat.atMs - clock.nowMs()
        const { pool, engine, offers } = beat
        if (beat.engineFacts) told.set(`${pool} ${engine}`, { pool, offers })
        if (state === 'gone') latest.delete(beat.workerId)
        else
          latest.set(beat.workerId, {
            ...{ beat: { ...beat, state }, aheadMs },
            atMs: clock.monotonicMs(),
          })
        onBeat(beat)
      },
    }),
  }
}
