import {
  background,
  type Clock,
  type Log,
  type RecordStore,
  type Runnable,
} from '@avatar/service-kit'

/** How soon a broken watch is opened again. */
const watchAgainMs = 500

/**
 * Follows all records by one watch. Whenever it breaks it is opened again behind the last change that it
 * reported, so nothing is reported twice. What it reports is a moment
 * old: only the record itself is the truth about a job.
 */
export function followJobs<J>(options: {
  /** They may be parsed by what the follower needs of a record: the whole costs three times as much. */
  records: Pick<RecordStore<J>, 'watch'>
  clock: Clock
  log: Log
  onJob: (job: J, revision: number) => void
  onGone: (jobId: string, owner: string, revision: number) => void
  /** Called when every record that was there before the watch has been reported. */
  onCurrent?: () => void
}): Runnable {
  const { records, onJob, onGone, onCurrent = () => undefined } = options
  let isCurrent = false
  let seenUpTo = 0

  function becomeCurrent() {
    isCurrent = true
    onCurrent()
  }

  const loop = background({
    ...options,
    name: 'job watch',
    everyMs: watchAgainMs,
    // There may be no change for days.
    silentForMs: Infinity,
    async pass(signal) {
      try {
        const changes = records.watch(signal, becomeCurrent, seenUpTo && seenUpTo + 1)
        for await (const { key, value, revision } of changes) {
          const dot = key.indexOf('.')
          if (value) onJob(value, revision)
          else onGone(key.slice(dot + 1), key.slice(0, dot), revision)
          seenUpTo = revision
        }
      } finally {
        isCurrent = false
      }
    },
  })
  return { ...loop, isReady: () => isCurrent }
}
