import { type Beat, subjects } from '@avatar/contracts'
import type { Foundation } from '@avatar/service-kit'

/** Wakes whoever follows a job when an event or a heartbeat names it. It carries no content. */
export type JobChanges = ReturnType<typeof createJobChanges>

export function createJobChanges({ bus, clock }: Pick<Foundation, 'bus' | 'clock'>) {
  const watches = new Map<string, Set<() => void>>()
  const wake = (jobId: string) => {
    for (const notify of watches.get(jobId) ?? []) notify()
  }

  let subscribed: { stop(): void } | undefined
  return {
    async start() {
      // The subject ends in the job. Most events are of jobs that nobody follows, so none is parsed.
      subscribed ??= bus.subscribe(subjects.anyJobEvent, ({ subject }) =>
        wake(subject.slice(subject.lastIndexOf('.') + 1)),
      )
    },
    async stop() {
      subscribed?.stop()
      subscribed = undefined
    },
    onBeat: ({ jobs }: Beat) => {
      for (const { jobId } of jobs) wake(jobId)
    },
    /** One follower's view of a job. */
    watch(jobId: string) {
      let changed = new AbortController()
      const notify = () => changed.abort()
      const ofJob = watches.get(jobId) ?? new Set()
      watches.set(jobId, ofJob.add(notify))
      return {
        /**
         * Resolves at the next change, at once if there was one since the last wait, and after `ms` at
         * the latest.
         */
        async next(ms: number, signal: AbortSignal) {
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
