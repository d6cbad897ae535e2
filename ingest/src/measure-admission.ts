import type { Clock, Metrics } from '@avatar/service-kit'
import type { Admission } from './admission.ts'

/** Wraps an admission: counts the jobs it accepts and measures its duration, by door. */
export function measureAdmission(
  admit: Admission,
  { metrics, clock }: { metrics: Metrics; clock: Clock },
): Admission {
  const { jobs_accepted_total: accepted, submit_duration_seconds: duration } = metrics.of('ingest')
  return async (submission) => {
    const { door } = submission
    const beganMs = clock.monotonicMs()
    const admitted = await admit(submission)
    duration.record((clock.monotonicMs() - beganMs) / 1000, { door })
    if (admitted.isNew) accepted.add(1, { door })
    return admitted
  }
}
