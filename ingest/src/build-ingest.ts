import { join } from 'node:path'
import { apiKeyRecordSchema, buckets, consumers, intakeSubmissionSchema } from '@avatar/contracts'
import { openJobRecords } from '@avatar/job-kit'
import {
  consumerLoop,
  type Foundation,
  objectStoreOf,
  type Runnable,
  type ServiceParts,
  stopTogether,
} from '@avatar/service-kit'
import type { FastifyInstance } from 'fastify'
import { createAdmission } from './admission.ts'
import { createApiKeys } from './api-keys.ts'
import { buildApp } from './app.ts'
import { type Board, createBoard } from './board.ts'
import type { IngestConfig } from './config.ts'
import { intakeHandler } from './intake.ts'
import { measureAdmission } from './measure-admission.ts'
import { createMediaChecks } from './media/media-checks.ts'
import { type Recall, recallIntake } from './recall-intake.ts'
import { createInputTaker } from './take-inputs.ts'
import { createUploadSpool } from './upload-spool.ts'
import { createWorkers } from './workers.ts'

/** Ingest's parts, and those of them that a test looks into. */
export type IngestParts = ServiceParts & {
  app: FastifyInstance
  board: Board
  intake: Runnable
  recall: Recall
}

/** Everything ingest consists of, wired; it listens nowhere yet. */
export async function buildIngest(foundation: Foundation<IngestConfig>): Promise<IngestParts> {
  const { config, bus, clock, log, timings } = foundation
  const objects = objectStoreOf(config, timings)
  const records = await openJobRecords(bus)
  const apiKeyRecords = await bus.records(buckets.apikey, apiKeyRecordSchema)
  const spool = createUploadSpool(join(config.SPOOL_DIR, 'uploads'))
  await spool.wipe()
  const media = createMediaChecks({
    ffmpegPath: config.FFMPEG_PATH,
    tempDir: join(config.SPOOL_DIR, 'checks'),
    concurrency: config.MEDIA_CHECK_CONCURRENCY,
    log,
  })
  const board = createBoard({ records, clock, log })
  const workers = createWorkers(foundation)
  const shared = { ...foundation, records, objects, board, workers, spool }
  const admit = measureAdmission(
    createAdmission({
      ...shared,
      inputs: createInputTaker({ ...shared, media }),
      minDeadlineSeconds: config.RENDER_DEADLINE_MIN_SECONDS,
    }),
    shared,
  )
  const spec = consumers(timings).ingest
  const intake = consumerLoop({
    ...foundation,
    spec,
    concurrency: 4,
    schema: intakeSubmissionSchema,
    ...intakeHandler({ ...shared, admit }),
  })
  const recall = recallIntake({ ...foundation, spec })
  const app = await buildApp({
    ...shared,
    apiKeys: createApiKeys({ records: apiKeyRecords, clock, timings }),
    admit,
    allowedOrigins: config.ALLOWED_ORIGINS,
    hasDocs: config.API_DOCS,
    resultUrlTtlSeconds: config.RESULT_URL_TTL_SECONDS,
  })
  const door: Runnable = {
    start: async () => {
      await app.listen({ host: config.HTTP_HOST, port: config.HTTP_PORT })
    },
    stop: () => app.close(),
  }
  return {
    ...{ app, board, intake, recall },
    start: [media, board, workers, intake, recall, door],
    stopPhases: [
      stopTogether('doors', 15_000, [door, intake, recall]),
      stopTogether('checks', 5_000, [media, board, workers]),
    ],
    checks: { store: objects.isReachable },
  }
}
