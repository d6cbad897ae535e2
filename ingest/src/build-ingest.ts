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
import { createFullStreams } from './full-streams.ts'
import { intakeHandler } from './intake.ts'
import { createJobChanges } from './job-changes.ts'
import { measureAdmission } from './measure-admission.ts'
import { createMediaChecks } from './media/media-checks.ts'
import { type Recall, recallIntake } from './recall-intake.ts'
import { createInputTaker } from './take-inputs.ts'
import { createUploadSpool } from './upload-spool.ts'
import { createWorkers } from './workers.ts'

/** Ingest's parts, with those by name that tests look into. */
export type IngestParts = ServiceParts & {
  app: FastifyInstance
  board: Board
  intake: Runnable
  recall: Recall
}

/** Wires everything that ingest consists of. Nothing listens before the parts are started. */
export async function buildIngest(foundation: Foundation<IngestConfig>): Promise<IngestParts> {
  const { config, bus, clock, log, timings } = foundation
  const objects = objectStoreOf(config, timings)
  const records = await openJobRecords(bus)
  const apiKeyRecords = await bus.records(buckets.apikey, apiKeyRecordSchema)
  const spool = createUploadSpool(join(config.SPOOL_DIR, 'uploads'), log)
  await spool.wipe()
  const media = createMediaChecks({
    ffmpegPath: config.FFMPEG_PATH,
    tempDir: join(config.SPOOL_DIR, 'checks'),
    concurrency: config.MEDIA_CHECK_CONCURRENCY,
    log,
  })
  const board = createBoard({ records, clock, log })
  const changes = createJobChanges(foundation)
  const workers = createWorkers({ ...foundation, onBeat: changes.onBeat })
  const fullStreams = createFullStreams(foundation)
  const shared = { ...foundation, records, objects, board, workers, fullStreams, spool }
  const admit = measureAdmission(
    createAdmission({ ...shared, inputs: createInputTaker({ ...shared, media }) }),
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
    changes,
    apiKeys: createApiKeys({ records: apiKeyRecords, clock, timings }),
    admit,
  })
  const door: Runnable = {
    async start() {
      const { HTTP_HOST: host, HTTP_PORT: port } = config
      if (!app.server.listening) await app.listen({ host, port })
    },
    stop: () => app.close(),
  }
  return {
    ...{ app, board, intake, recall },
    start: [media, board, workers, changes, intake, recall, door],
    stopPhases: [
      stopTogether('doors', 15_000, [door, intake, recall]),
      stopTogether('checks', 5_000, [media, board, workers, changes]),
    ],
    checks: { store: objects.isReachable },
  }
}
