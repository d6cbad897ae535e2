import { type Beat, beatSchema, subjects } from '@avatar/contracts'
import { type Foundation, subscription } from '@avatar/service-kit'

/** The workers, as their latest heartbeats describe them. */
export type Workers = ReturnType<typeof createWorkers>

/** The preview engine's pace, rounded up. */
const assumedSecondsPerVideoSecond = 2

/** Follows the workers' heartbeats. `onBeat` is called once a heartbeat has been taken in. */
export function createWorkers(
  deps: Pick<Foundation, 'bus' | 'clock' | 'timings'> & { onBeat: (beat: Beat) => void },
) {
  const { bus, clock, timings, onBeat } = deps
  const latest = new Map<string, { beat: Beat; atMs: number }>()

  /** Workers whose latest heartbeat is recent, including those that still load their engine. */
  const alive = () => {
    const nowMs = clock.monotonicMs()
    for (const [id, { atMs }] of latest) if (nowMs - atMs > timings.silentAfterMs) latest.delete(id)
    return [...latest.values()].map(({ beat, atMs }) => ({ beat, seenMsAgo: nowMs - atMs }))
  }

  return {
    alive,
    /** How many of them take jobs, now or once their engine is loaded. */
    serving: () => alive().filter(({ beat }) => beat.state !== 'draining').length,
    /** Percent of the job's render that its worker last reported for this epoch; 0 when it has not. */
    percentOf(jobId: string, epoch: number): number {
      for (const { beat } of latest.values())
        for (const held of beat.jobs)
          if (held.jobId === jobId && held.epoch === epoch) return held.percent
      return 0
    },
    /** Seconds of rendering per second of video on the fastest worker; an assumption while none is measured. */
    secondsPerVideoSecond(): number {
      const measured = alive().flatMap(({ beat }) => beat.secondsPerVideoSecond ?? [])
      return measured.length > 0 ? Math.min(...measured) : assumedSecondsPerVideoSecond
    },
    ...subscription({
      bus,
      subject: subjects.beat('*'),
      schema: beatSchema,
      handle(beat) {
        latest.set(beat.workerId, { beat, atMs: clock.monotonicMs() })
        onBeat(beat)
      },
    }),
  }
}
