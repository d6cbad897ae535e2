import { aJob } from '@avatar/contracts/testing'
import { createMetrics } from '@avatar/service-kit'
import { afterEach, expect, it } from 'vitest'
import { measureDeletions } from './measure-deletions.ts'

const metrics = createMetrics('janitor')
const measure = measureDeletions(metrics.of('janitor'))
afterEach(() => metrics.stop())

it('a deletion is as late as it comes after the end of the retention, and counts once for each job', async () => {
  const [first, second] = [
    'b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a11',
    'b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a12',
  ]
  const ended = (jobId: string | undefined, difference = {}) =>
    aJob({ ...(jobId ? { jobId } : {}), state: 'completed', expiresAtMs: 10_000, ...difference })
  measure.jobDeleted(ended(first), 12_000)
  measure.jobDeleted(ended(first), 12_100)
  measure.jobDeleted(ended(second), 9_999)
  measure.jobDeleted(ended(second, { deletedAtMs: 9_999 }), 50_000)
  measure.deleted(3, 'due')
  const text = await metrics.scrape()
  expect(text).toContain('infinitetalk_deletion_lateness_seconds_count 2\n')
  expect(text).toContain('infinitetalk_deletion_lateness_seconds_sum 2\n')
  expect(text).toContain('infinitetalk_objects_deleted_total{why="due"} 3\n')
  expect(text).not.toContain('infinitetalk_sweep_last_success_timestamp_seconds ')
  measure.swept(5_000)
  expect(await metrics.scrape()).toContain('sweep_last_success_timestamp_seconds 5\n')
})
