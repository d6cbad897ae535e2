import { buckets, consumers, jobRecordSchema } from '@avatar/contracts'
import {
  consumerLoop,
  objectStoreOf,
  openRecordStore,
  runService,
  stopTogether,
} from '@avatar/service-kit'
import { janitorConfigSchema } from './config.ts'
import { onDeletionDue } from './handlers/deletion-due.ts'
import { sweepObjects } from './sweeps/sweep-objects.ts'

await runService('janitor', janitorConfigSchema, process.env, async (foundation) => {
  const { config, log, bus, metrics, clock, timings } = foundation
  const objects = objectStoreOf(config, timings)
  const records = await openRecordStore(bus, buckets.job, jobRecordSchema)
  const deleted = metrics.meter.createCounter('infinitetalk_objects_deleted_total', {
    description: 'Objects deleted: their retention ended, or no job owns them',
  })
  const onDeleted = (objects: number) => deleted.add(objects)
  const parts = [
    consumerLoop({
      bus,
      spec: consumers(timings).janitor,
      concurrency: 8,
      timings,
      clock,
      log,
      handle: onDeletionDue({
        bus,
        objects,
        records,
        clock,
        onDeleted,
      }),
    }),
    sweepObjects({
      bus,
      objects,
      records,
      retentionMs: config.VIDEO_RETENTION_HOURS * 3_600_000,
      onDeleted,
      clock,
      log,
      timings,
    }),
  ]
  return { start: parts, stopPhases: [stopTogether('work', 10_000, parts)] }
})
