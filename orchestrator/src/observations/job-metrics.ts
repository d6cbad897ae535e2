import { metrics as catalogue } from '@avatar/contracts'
import type { Clock, Instruments } from '@avatar/service-kit'
import type { Transition } from '../records/job-writer.ts'
import type { LiveJobs } from '../records/live-jobs.ts'
import { type Circumstances, type Measurement, measurementsOf } from './measurements.ts'

/** Writes what a transition measures. */
export function measureTransitions(
  instruments: Instruments<'orchestrator'>,
  circumstances: Circumstances,
) {
  return (transition: Transition): void => {
    for (const measurement of measurementsOf(transition, circumstances))
      write(instruments, measurement)
  }
}

function write(instruments: Instruments<'orchestrator'>, { name, value, labels }: Measurement) {
  // A measurement's labels are those of its name; TypeScript does not follow that through the union.
  const instrument = instruments[name] as {
    add?(value: number, labels: unknown): void
    record?(value: number, labels: unknown): void
  }
  instrument.add?.(value, labels)
  instrument.record?.(value, labels)
}

/** Tells the unfinished jobs, as the view of the records has them. */
export function observeLiveJobs(
  instruments: Pick<Instruments<'orchestrator'>, 'jobs' | 'queue_oldest_seconds'>,
  { liveJobs, clock }: { liveJobs: Pick<LiveJobs, 'all' | 'mayStart'>; clock: Clock },
): void {
  instruments.jobs.observe((tell) => {
    const counts = new Map<string, number>()
    for (const { value } of liveJobs.all())
      counts.set(value.state, (counts.get(value.state) ?? 0) + 1)
    for (const state of catalogue.jobs.labels.state) tell(counts.get(state) ?? 0, { state })
  })
  instruments.queue_oldest_seconds.observe((tell) => {
    const nowMs = clock.nowMs()
    let oldestMs = nowMs
    for (const { value } of liveJobs.mayStart(nowMs))
      oldestMs = Math.min(oldestMs, value.queuedAtMs ?? nowMs)
    tell((nowMs - oldestMs) / 1000)
  })
}
