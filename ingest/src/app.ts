import { randomUUID } from 'node:crypto'
import { type JobRecord, limits, type Timings } from '@avatar/contracts'
import {
  AppError,
  type Bus,
  type Clock,
  continueTrace,
  type Log,
  type Metrics,
  type ObjectStore,
  type RecordStore,
  type Trace,
} from '@avatar/service-kit'
import cors from '@fastify/cors'
import multipart from '@fastify/multipart'
import { type FastifyInstance, fastify } from 'fastify'
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod'
import type { Admission } from './admission.ts'
import type { ApiKeys } from './api-keys.ts'
import type { Board } from './board.ts'
import { answerMalformed, sendFailure, translate, useErrorHandler } from './error-handler.ts'
import { measureRequests } from './plugins/measure-requests.ts'
import { useOpenapi } from './plugins/openapi.ts'
import { routeCancel } from './routes/cancel.ts'
import { routeEvents } from './routes/events.ts'
import { routeGenerate } from './routes/generate.ts'
import { routeHealth } from './routes/health.ts'
import { routeJobs } from './routes/jobs.ts'
import { routeResult } from './routes/result.ts'
import { routeStatus } from './routes/status.ts'
import type { UploadSpool } from './upload-spool.ts'
import type { Workers } from './workers.ts'

/** Everything the API is built from; a test makes its own. */
export type AppDeps = {
  bus: Bus
  records: RecordStore<JobRecord>
  objects: ObjectStore
  apiKeys: ApiKeys
  admit: Admission
  board: Board
  workers: Workers
  spool: UploadSpool
  clock: Clock
  log: Log
  timings: Timings
  metrics: Metrics
  allowedOrigins: readonly string[]
  hasDocs: boolean
  resultUrlTtlSeconds: number
}

declare module 'fastify' {
  interface FastifyRequest {
    trace: Trace
    /** The owner behind the key; empty on routes that need none. */
    owner: string
  }
  interface FastifyContextConfig {
    /** Set on routes that need no key. */
    isPublic?: boolean
  }
}

/** The REST API as a function of its dependencies; it listens nowhere. */
export async function buildApp(deps: AppDeps): Promise<FastifyInstance> {
  const app: FastifyInstance = fastify({
    loggerInstance: deps.log as never, // Fastify's logger type is narrower than pino's own.
    disableRequestLogging: true,
    genReqId: () => randomUUID(),
    bodyLimit: 64 * 1024,
    requestTimeout: 120_000,
    routerOptions: { maxParamLength: 200 },
    frameworkErrors: (error, request, reply) =>
      void sendFailure(translate(error), request as never, reply as never),
    clientErrorHandler: answerMalformed as never,
  })
  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)
  useErrorHandler(app)
  app.decorateRequest('owner', '')
  app.decorateRequest('trace')

  app.addHook('onRequest', async (request, reply) => {
    const { traceparent } = request.headers
    request.trace = continueTrace(typeof traceparent === 'string' ? traceparent : undefined)
    request.log = request.log.child({ traceId: request.trace.traceId })
    reply.header('traceparent', request.trace.traceparent)
    reply.header('x-request-id', request.id)
  })
  measureRequests(app, deps)
  await app.register(cors, {
    origin: [...deps.allowedOrigins],
    exposedHeaders: ['location', 'retry-after', 'x-request-id', 'traceparent'],
  })
  app.addHook('onRequest', async (request) => {
    if (request.is404 || request.routeOptions.config.isPublic || request.method === 'OPTIONS')
      return
    request.owner = await deps.apiKeys.ownerOf(request.headers.authorization)
  })
  await app.register(multipart, {
    limits: {
      files: 4,
      fields: 12,
      parts: 14,
      fieldSize: 4 * limits.promptMaxCharacters + 1,
      // Counted by us for each medium; this only keeps the library from cutting earlier.
      fileSize: limits.drainMaxBytes,
    },
    throwFileSizeLimit: false,
  })
  if (deps.hasDocs) await useOpenapi(app)
  await app.register(async (routes) => {
    for (const route of [
      routeGenerate,
      routeStatus,
      routeResult,
      routeCancel,
      routeEvents,
      routeJobs,
      routeHealth,
    ])
      route(routes, deps)
  })
  return app
}

/**
 * The record of the caller's own job; another's is the same miss as an unknown one.
 *
 * @throws AppError JOB_NOT_FOUND
 */
export async function getOwnJob(
  deps: Pick<AppDeps, 'records'>,
  owner: string,
  jobId: string,
): Promise<JobRecord> {
  const found = await deps.records.find(`${owner}.${jobId}`)
  if (!found) throw new AppError('JOB_NOT_FOUND')
  return found.value
}
