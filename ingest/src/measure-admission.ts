import type { Clock, Metrics } from '@avatar/service-kit'
import type { Admission } from './admission.ts'

/** Wraps an admission: counts the jobs it accepts and measures its duration, by door. */
export function measureAdmission(
  admit: Admission,
  { metrics, clock }: { metrics: Metrics; clock: Clock },
): Admission {
  const accepted = metrics.meter.createCounter('infinitetalk_jobs_accepted_total', {
    description: 'New jobs, by the door they came through',
  })
  const duration = metrics.meter.createHistogram('infinitetalk_submit_duration_seconds', {
    description: 'From spooled inputs to an announced job, by door',
    advice: { explicitBucketBoundaries: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30] },
  })
  return async (submission) => {
    const { door } = submission
    const beganMs = clock.monotonicMs()
    const admitted = await admit(submission)
    duration.record((clock.monotonicMs() - beganMs) / 1000, { door })
    if (admitted.isNew) accepted.add(1, { door })
    return admitted
  }
}
