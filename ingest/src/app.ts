import { randomUUID } from 'node:crypto'
import { limits } from '@avatar/contracts'
import { AppError, continueTrace } from '@avatar/service-kit'
import cors from '@fastify/cors'
import multipart from '@fastify/multipart'
import { type FastifyBaseLogger, type FastifyInstance, fastify, LogController } from 'fastify'
import {
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod'
import type { AppDeps } from './app-deps.ts'
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

/** Builds the REST API from its dependencies. It does not listen. */
export async function buildApp(deps: AppDeps): Promise<FastifyInstance> {
  // The casts: Fastify's logger type is narrower than pino's, and its handlers' types know neither our
  // logger nor what Node really passes to `clientErrorHandler`.
  const app = fastify({
    loggerInstance: deps.log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    requestTimeout: 120_000,
    // Fastify's own answer is not in our envelope; see `refuseWhileDraining`.
    return503OnClosing: false,
    routerOptions: { maxParamLength: 200 },
    // Node's own answer to a request without a Host header has no body.
    http: { requireHostHeader: false },
    frameworkErrors: (error, request, reply) =>
      void sendFailure(translate(error), request as never, reply as never),
    clientErrorHandler: answerMalformed as never,
  }) as unknown as FastifyInstance
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
    reply.header('x-content-type-options', 'nosniff')
  })
  measureRequests(app, deps)
  refuseExpectations(app)
  ignoreBodies(app)
  await app.register(cors, {
    origin: deps.config.ALLOWED_ORIGINS,
    exposedHeaders: ['location', 'retry-after', 'x-request-id', 'traceparent'],
    // The plugin would answer a preflight without an origin in plain text.
    strictPreflight: false,
  })
  refuseWhileDraining(app)
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
      // `readUpload` counts each medium; this keeps the library from truncating it earlier.
      fileSize: limits.drainMaxBytes,
    },
    throwFileSizeLimit: false,
  })
  if (deps.config.API_DOCS) await useOpenapi(app)
  await app.register(async (routes) => {
    const api = routes.withTypeProvider<ZodTypeProvider>()
    routeGenerate(api, deps)
    routeStatus(api, deps)
    routeResult(api, deps)
    routeCancel(api, deps)
    routeEvents(api, deps)
    routeJobs(api, deps)
    routeHealth(api, deps)
  })
  return app
}

/** Discards bodies: no route but the upload takes one, and sending one, of whatever type, is no error. */
function ignoreBodies(app: FastifyInstance) {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, payload, done) => {
    payload.resume()
    done(null)
  })
}

/** Refuses any `Expect` but `100-continue` as a route would, because Node's own answer has no body. */
function refuseExpectations(app: FastifyInstance) {
  app.server.on('checkExpectation', (...exchange) => app.server.emit('request', ...exchange))
  app.addHook('onRequest', async ({ headers }, reply) => {
    const { expect = '100-continue' } = headers
    if (expect.toLowerCase() === '100-continue') return
    reply.header('connection', 'close') // Whether the client still sends its body is unknown.
    const value = expect.slice(0, 100)
    const details = { field: 'Expect', problem: 'only 100-continue is known', value }
    throw new AppError('MALFORMED_REQUEST', { details })
  })
}

/** While the server closes, answers requests on connections that are still open with DRAINING. */
function refuseWhileDraining(app: FastifyInstance) {
  let isDraining = false
  app.addHook('preClose', async () => {
    isDraining = true
  })
  app.addHook('onRequest', async () => {
    if (isDraining) throw new AppError('DRAINING')
  })
  // A connection that stays alive after its last answer would keep the server from closing.
  app.addHook('onSend', async (_request, reply) => {
    if (isDraining) reply.header('connection', 'close')
  })
}
