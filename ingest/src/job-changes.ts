import { type Beat, jobIdSchema } from '@avatar/contracts'
import { type Bus, type Clock, type Runnable, subscription } from '@avatar/service-kit'
import { z } from 'zod'

/** One follower's view of a job. */
export type JobWatch = {
  /**
   * Resolves at the next change, at once if there was one since the last wait, and after `ms` at the
   * latest.
   */
  next(ms: number, signal: AbortSignal): Promise<void>
  close(): void
}

/** Wakes whoever follows a job when an event or a heartbeat names it. It carries no content. */
export type JobChanges = Runnable & {
  watch(jobId: string): JobWatch
  onBeat(beat: Beat): void
}

export function createJobChanges({ bus, clock }: { bus: Bus; clock: Clock }): JobChanges {
  const watches = new Map<string, Set<() => void>>()
  const wake = (jobId: string) => {
    for (const notify of watches.get(jobId) ?? []) notify()
  }

  return {
    ...subscription({
      bus,
      subject: 'evt.job.*.*',
      schema: z.object({ jobId: jobIdSchema }),
      handle: ({ jobId }) => wake(jobId),
    }),
    onBeat: ({ jobs }) => {
      for (const { jobId } of jobs) wake(jobId)
    },
    watch(jobId) {
      let changed = new AbortController()
      const notify = () => changed.abort()
      const ofJob = watches.get(jobId) ?? new Set()
      watches.set(jobId, ofJob.add(notify))
      return {
        async next(ms, signal) {
          await clock.wait(ms, AbortSignal.any([changed.signal, signal]))
          changed = new AbortController()
        },
        close() {
          ofJob.delete(notify)
          if (ofJob.size === 0) watches.delete(jobId)
        },
      }
    },
  }
}
