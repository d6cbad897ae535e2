import { type Beat, beatSchema, subjects, type Timings } from '@avatar/contracts'
import { type Bus, type Clock, type Runnable, subscription } from '@avatar/service-kit'

/** What the workers said of themselves lately. */
export type Workers = Runnable & {
  /** Workers that beat lately and have an engine, loading ones included. */
  alive(): { beat: Beat; seenMsAgo: number }[]
  /** How many of them take jobs, now or once their engine is loaded. */
  serving(): number
  /** Percent of the job's render, as its worker said last for this epoch. */
  percentOf(jobId: string, epoch: number): number
  /** Seconds of work per second of video, by the fastest worker; a guess while there is none. */
  secondsPerVideoSecond(): number
  /** Told of each beat. */
  onBeat(hear: (beat: Beat) => void): () => void
}

/** Assumed while no worker has measured itself: the preview engine's pace, rounded up. */
const assumedSecondsPerVideoSecond = 2

export function createWorkers(deps: { bus: Bus; clock: Clock; timings: Timings }): Workers {
  const { bus, clock, timings } = deps
  const last = new Map<string, { beat: Beat; atMs: number }>()
  const hearers = new Set<(beat: Beat) => void>()

  const alive = () => {
    const nowMs = clock.monotonicMs()
    for (const [id, { atMs }] of last) if (nowMs - atMs > timings.silentAfterMs) last.delete(id)
    return [...last.values()].map(({ beat, atMs }) => ({ beat, seenMsAgo: nowMs - atMs }))
  }

  return {
    alive,
    serving: () => alive().filter(({ beat }) => beat.state !== 'draining').length,
    percentOf(jobId, epoch) {
      for (const { beat } of last.values())
        for (const held of beat.jobs)
          if (held.jobId === jobId && held.epoch === epoch) return held.percent
      return 0
    },
    secondsPerVideoSecond() {
      const measured = alive().flatMap(({ beat }) => beat.secondsPerVideoSecond ?? [])
      return measured.length > 0 ? Math.min(...measured) : assumedSecondsPerVideoSecond
    },
    onBeat(hear) {
      hearers.add(hear)
      return () => hearers.delete(hear)
    },
    ...subscription({
      bus,
      subject: subjects.beat('*'),
      schema: beatSchema,
      handle(beat) {
        last.set(beat.workerId, { beat, atMs: clock.monotonicMs() })
        for (const hear of hearers) hear(beat)
      },
    }),
  }
}
