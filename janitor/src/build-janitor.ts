import { consumers, deletionDueSchema } from '@avatar/contracts'
import { openJobRecords } from '@avatar/job-kit'
import {
  consumerLoop,
  type Foundation,
  objectStoreOf,
  type ServiceParts,
  stopTogether,
} from '@avatar/service-kit'
import type { JanitorConfig } from './config.ts'
import { onDeletionDue } from './handlers/deletion-due.ts'
import { sweepObjects } from './sweeps/sweep-objects.ts'

/** All parts of the janitor, wired but not started. */
export async function buildJanitor(foundation: Foundation<JanitorConfig>): Promise<ServiceParts> {
  const { config, bus, metrics, timings } = foundation
  const objects = objectStoreOf(config, timings)
  const records = await openJobRecords(bus)
  const deleted = metrics.meter.createCounter('infinitetalk_objects_deleted_total', {
    description: 'Objects deleted because their retention ended or no job owns them',
  })
  const deps = {
    ...foundation,
    objects,
    records,
    onDeleted: (count: number) => deleted.add(count),
  }
  const retentionMs = config.VIDEO_RETENTION_HOURS * 3_600_000
  const parts = [
    consumerLoop({
      ...foundation,
      spec: consumers(timings).janitor,
      concurrency: 8,
      schema: deletionDueSchema,
      handle: onDeletionDue(deps),
    }),
    sweepObjects({ ...deps, retentionMs }),
  ]
  return {
    start: parts,
    stopPhases: [stopTogether('work', 10_000, parts)],
    checks: { store: objects.isReachable },
  }
}
