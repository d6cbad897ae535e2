import { statfs } from 'node:fs/promises'
import { join } from 'node:path'
import {
  apiKeyRecordSchema,
  buckets,
  consumers,
  intakeSubmissionSchema,
  limitsInForce,
  rateStateSchema,
} from '@avatar/contracts'
import {
  defaultLimitsOf,
  fairRulesOf,
  followLedger,
  followPaces,
  openJobRecords,
  openOwnerLimits,
  openPaces,
  ownerLimits,
} from '@avatar/job-kit'
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
import { type Board, createBoard, openBoardRecords } from './board.ts'
import type { IngestConfig } from './config.ts'
import { createEstimates } from './estimates.ts'
import { createEventTokens } from './event-tokens.ts'
import { createFailureLog } from './failure-log.ts'
import { intakeHandler } from './intake.ts'
import { createJobChanges } from './job-changes.ts'
import { measureAdmission } from './measure-admission.ts'
import { createMediaChecks } from './media/media-checks.ts'
import { createOfferCheck } from './not-offered.ts'
import { createLookForRoom } from './queue-room.ts'
import { createQuotas } from './quotas.ts'
import { createRates, type LimitsOf } from './rate/policies.ts'
import { createPublisherTurns } from './rate/publisher-turns.ts'
import { createRequestGate } from './rate/request-gate.ts'
import { createTokens } from './rate/tokens.ts'
import { type Recall, recallIntake } from './recall-intake.ts'
import { followScale } from './scale-view.ts'
import { createInputTaker } from './take-inputs.ts'
import { createUploadSpool } from './upload-spool.ts'
import { waitUntilCurrent } from './wait-until-current.ts'
import { createWorkers } from './workers.ts'

/** Ingest's parts, with those by name that tests look into. */
export type IngestParts = ServiceParts & {
  app: FastifyInstance
  board: Board
  intake: Runnable
  recall: Recall
}

/** Wires everything that ingest consists of. Nothing listens before the parts are started. */
export async function buildIngest(
  foundation: Foundation<IngestConfig>,
  /** Instead of the limits that the broker keeps. */
  limitsInstead?: LimitsOf,
): Promise<IngestParts> {
  const { config, bus, clock, log, timings } = foundation
  const objects = objectStoreOf(config, timings, foundation.clock)
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
  const limits = ownerLimits({ records: await openOwnerLimits(bus), clock, log })
  const ledger = followLedger(foundation)
  // By these the board tells places. The orchestrator hands out jobs by the same ones.
  const defaults = defaultLimitsOf(config)
  const fairRules = fairRulesOf({ ...foundation, limits, ledger, defaults })
  const board = createBoard({ records: await openBoardRecords(bus), clock, log, fairRules })
  const changes = createJobChanges(foundation)
  const rateRecords = await bus.records(buckets.rate, rateStateSchema)
  const workers = createWorkers({ ...foundation, onBeat: changes.onBeat })
  const paces = followPaces({ records: await openPaces(bus), clock, log })
  const rendersAtOnceOf = (owner: string) => limitsInForce(limits.limitsOf(owner), defaults).renders
  const scale = await followScale({ bus, clock, log })
  const estimates = createEstimates({ board, workers, paces, scale, rendersAtOnceOf })
  const lookForRoom = createLookForRoom(foundation)
  const quotas = createQuotas({ board, ledger, limits, workers, clock, config })
  const offerCheck = createOfferCheck({ ...foundation, workers, scale })
  const looked = { board, workers, scale, estimates, lookForRoom, quotas, offerCheck }
  const shared = { ...foundation, records, objects, spool, ...looked }
  const admit = measureAdmission(
    createAdmission({ ...shared, inputs: createInputTaker({ ...shared, media }) }),
    shared,
  )
  const rates = createRates({ config, limitsOf: limitsInstead ?? limits.limitsOf })
  const tokens = createTokens({ ...foundation, records: rateRecords })
  const turns = createPublisherTurns({ tokens, rates, clock })
  const spec = consumers(timings).ingest
  const intake = consumerLoop({
    ...foundation,
    spec,
    concurrency: 4,
    schema: intakeSubmissionSchema,
    ...intakeHandler({ ...shared, admit, turns }),
  })
  const recall = recallIntake({ ...foundation, spec })
  foundation.metrics.of('ingest').disk_free_ratio.observe(async (tell) => {
    const { bavail, blocks } = await statfs(config.SPOOL_DIR)
    tell(bavail / blocks, { volume: 'spool', worker: '' })
  })
  const failureLog = createFailureLog(foundation)
  const apiKeys = createApiKeys({ records: apiKeyRecords, clock, timings })
  const app = await buildApp({
    ...shared,
    ...{ changes, limits, ledger, rateRecords },
    apiKeys,
    eventTokens: createEventTokens({ ...foundation, apiKeys }),
    gate: createRequestGate({ ...foundation, tokens, rates }),
    ...{ admit, failureLog },
  })
  const door: Runnable = {
    async start() {
      const { HTTP_HOST: host, HTTP_PORT: port } = config
      if (!app.server.listening)
        await app.listen({ host, port, listenTextResolver: () => 'listening' })
    },
    stop: () => app.close(),
  }
  return {
    ...{ app, board, intake, recall },
    start: [
      ...[media, board, limits, ledger, paces, workers, scale, changes],
      waitUntilCurrent(foundation, [limits, ledger]),
      ...[intake, recall, failureLog, door],
    ],
    stopPhases: [
      stopTogether('doors', 15_000, [door, intake, recall]),
      stopTogether('checks', 5_000, [
        failureLog,
        media,
        board,
        limits,
        ledger,
        paces,
        workers,
        scale,
        changes,
      ]),
    ],
    checks: { store: objects.isReachable },
  }
}
