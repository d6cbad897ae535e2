import { join } from 'node:path'
import { apiKeyRecordSchema, buckets, consumers, jobRecordSchema } from '@avatar/contracts'
import {
  consumerLoop,
  objectStoreOf,
  openRecordStore,
  runService,
  stopTogether,
} from '@avatar/service-kit'
import { createAdmission } from './admission.ts'
import { createApiKeys } from './api-keys.ts'
import { buildApp } from './app.ts'
import { createBoard } from './board.ts'
import { ingestConfigSchema } from './config.ts'
import { onIntakeSubmitted } from './intake.ts'
import { measureAdmission } from './measure-admission.ts'
import { createMediaChecks } from './media/media-checks.ts'
import { recallIntake } from './recall-intake.ts'
import { createInputTaker } from './take-inputs.ts'
import { createUploadSpool } from './upload-spool.ts'
import { createWorkers } from './workers.ts'

await runService('ingest', ingestConfigSchema, process.env, async (foundation) => {
  const { config, log, bus, metrics, clock, timings } = foundation
  const shared = { bus, clock, log, timings, metrics }
  const objects = objectStoreOf(config, timings)
  const records = await openRecordStore(bus, buckets.job, jobRecordSchema)
  const keyRecords = await openRecordStore(bus, buckets.apikey, apiKeyRecordSchema)
  const spool = createUploadSpool(join(config.SPOOL_DIR, 'uploads'))
  await spool.wipe()
  const media = createMediaChecks({
    ffmpegPath: config.FFMPEG_PATH,
    tempDir: join(config.SPOOL_DIR, 'checks'),
    concurrency: config.MEDIA_CHECK_CONCURRENCY,
    log,
  })
  const board = createBoard({ records, clock, log })
  const workers = createWorkers(shared)
  const admission = createAdmission({
    ...shared,
    records,
    inputs: createInputTaker({ ...shared, objects, media }),
    board,
    workers,
    minDeadlineSeconds: config.RENDER_DEADLINE_MIN_SECONDS,
  })
  const admit = measureAdmission(admission, shared)
  const intake = consumerLoop({
    ...shared,
    spec: consumers(timings).ingest,
    concurrency: 4,
    handle: onIntakeSubmitted({ ...shared, objects, admit, spool }),
  })
  const recall = recallIntake({ ...shared, spec: consumers(timings).ingest })
  const app = await buildApp({
    ...shared,
    records,
    objects,
    apiKeys: createApiKeys({ records: keyRecords, clock, timings }),
    admit,
    board,
    workers,
    spool,
    allowedOrigins: config.ALLOWED_ORIGINS,
    hasDocs: config.API_DOCS,
    resultUrlTtlSeconds: config.RESULT_URL_TTL_SECONDS,
  })
  const door = {
    start: async () => {
      await app.listen({ host: config.HTTP_HOST, port: config.HTTP_PORT })
    },
    stop: () => app.close(),
  }
  return {
    start: [media, board, workers, intake, recall, door],
    stopPhases: [
      stopTogether('doors', 15_000, [door, intake, recall]),
      stopTogether('checks', 5_000, [media, board, workers]),
    ],
  }
})
