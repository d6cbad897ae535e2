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
import { onDeletionDue, traceDeletion } from './handlers/deletion-due.ts'
import { createMayDelete } from './may-delete.ts'
import { measureDeletions } from './measure-deletions.ts'
import { sweepObjects } from './sweeps/sweep-objects.ts'

/** All parts of the janitor, wired but not started. */
export async function buildJanitor(foundation: Foundation<JanitorConfig>): Promise<ServiceParts> {
  const { config, bus, metrics, timings } = foundation
  const objects = objectStoreOf(config, timings, foundation.clock)
  const records = await openJobRecords(bus)
  const deps = {
    ...foundation,
    objects,
    records,
    mayDelete: createMayDelete(foundation),
    measure: measureDeletions(metrics.of('janitor')),
  }
  const retentionMs = config.VIDEO_RETENTION_HOURS * 3_600_000
  const parts = [
    consumerLoop({
      ...foundation,
      spec: consumers(timings).janitor,
      concurrency: 8,
      schema: deletionDueSchema,
      handle: onDeletionDue(deps),
      traceDelivery: traceDeletion,
    }),
    sweepObjects({ ...deps, retentionMs }),
  ]
  return {
    start: parts,
    stopPhases: [stopTogether('work', 10_000, parts)],
    // Without it the janitor refuses its work.
    checks: { store: objects.isReachable, clock: async () => foundation.agreement.agrees() },
  }
}
