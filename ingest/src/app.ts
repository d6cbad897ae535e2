import { randomUUID } from 'node:crypto'
import { maxHeaderSize } from 'node:http'
import { AppError } from '@avatar/service-kit'
import cors from '@fastify/cors'
import { type FastifyBaseLogger, type FastifyInstance, fastify, LogController } from 'fastify'
import {
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod'
import { byKey } from './api-keys.ts'
import type { AppDeps } from './app-deps.ts'
import {
  answerMalformed,
  sendFailure,
  translate,
  useBareAnswers,
  useErrorHandler,
} from './error-handler.ts'
import { fieldRefused } from './field-refused.ts'
import { measureRequests } from './plugins/measure-requests.ts'
import { useOpenapi } from './plugins/openapi.ts'
import { usePage } from './plugins/page.ts'
import { traceOfRequest, traceRequests } from './plugins/trace-requests.ts'
import { createUnreadBodies } from './plugins/unread-bodies.ts'
import { routeCancel } from './routes/cancel.ts'
import { routeEventToken } from './routes/event-token.ts'
import { routeEvents } from './routes/events.ts'
import { routeGenerate } from './routes/generate.ts'
import { routeHealth } from './routes/health.ts'
import { routeJobs } from './routes/jobs.ts'
import { routeResult } from './routes/result.ts'
import { routeStatus } from './routes/status.ts'
import { routeUsage } from './routes/usage.ts'

/** Builds the REST API from its dependencies. It does not listen. */
export async function buildApp(deps: AppDeps): Promise<FastifyInstance> {
  const requestHeadMs = Math.ceil(deps.timings.requestHeadMs)
  const unreadBodies = createUnreadBodies(deps.timings)
  // The casts: Fastify's logger type is narrower than pino's, and its handlers' types know neither our
  // logger nor what Node really passes to `clientErrorHandler`.
  const app = fastify({
    loggerInstance: deps.log as FastifyBaseLogger,
    logController: new LogController({
      disableRequestLogging: true,
      requestIdLogLabel: 'requestId',
    }),
    genReqId: () => randomUUID(),
    // An upload has limits of its own, and no other route reads a body: see `boundBody`.
    requestTimeout: 0,
    trustProxy: deps.config.TRUSTED_PROXIES,
    rewriteUrl: ({ url = '' }) => withoutPrefix(url, deps.config.PUBLIC_PATH_PREFIX),
    // Fastify's own answer is not in our envelope; see `refuseWhileDraining`.
    return503OnClosing: false,
    // The head is bounded as a whole, and an id that is too long is refused like any other that is none.
    routerOptions: { maxParamLength: maxHeaderSize },
    // Node's own answer to a request without a Host header has no body.
    http: {
      requireHostHeader: false,
      headersTimeout: requestHeadMs,
      connectionsCheckingInterval: Math.ceil(requestHeadMs / 4),
    },
    frameworkErrors(error, request, reply) {
      unreadBodies.closeAfter(request as never, reply as never)
      sendFailure(translate(error), request as never, reply as never, deps.failureLog)
    },
    clientErrorHandler: answerMalformed as never,
  }) as unknown as FastifyInstance
  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)
  useErrorHandler(app, deps.failureLog)
  useBareAnswers(app)
  app.decorateRequest('owner', '')
  app.decorateRequest('trace')
  app.decorateRequest('span')

  app.addHook('onRequest', async (request, reply) => {
    request.trace = traceOfRequest(request, deps.config)
    request.log = request.log.child({ traceId: request.trace.traceId })
    reply.header('traceparent', request.trace.traceparent)
    reply.header('x-request-id', request.id)
    reply.header('x-content-type-options', 'nosniff')
  })
  measureRequests(app, deps)
  answerExpectations(app)
  ignoreBodies(app)
  unreadBodies.install(app)
  await app.register(cors, {
    origin: deps.config.ALLOWED_ORIGINS,
    exposedHeaders: [
      ...['location', 'retry-after', 'ratelimit', 'ratelimit-policy'],
      ...['x-request-id', 'traceparent'],
    ],
    // The plugin would answer a preflight without an origin in plain text.
    strictPreflight: false,
  })
  refuseWhileDraining(app)
  app.addHook('onRequest', async (request, reply) => {
    if (request.is404 || request.routeOptions.config.isPublic || request.method === 'OPTIONS')
      return
    request.owner = await deps.gate.pass(request, reply, byKey(deps.apiKeys, request.headers))
  })
  traceRequests(app)
  if (deps.config.API_DOCS) await useOpenapi(app, deps.config.PUBLIC_PATH_PREFIX)
  if (deps.config.WEB_PAGE) await usePage(app, deps)
  await app.register(async (routes) => {
    const api = routes.withTypeProvider<ZodTypeProvider>()
    routeGenerate(api, deps)
    routeStatus(api, deps)
    routeResult(api, deps)
    routeCancel(api, deps)
    routeEvents(api, deps)
    routeEventToken(api, deps)
    routeJobs(api, deps)
    routeUsage(api, deps)
    routeHealth(api, deps)
  })
  return app
}

/**
 * The URL as the routes know it. Some proxies remove their prefix before they pass a request on, others
 * do not. A server must also take the URL with scheme and host.
 */
function withoutPrefix(target: string, prefix: string): string {
  const url = target.replace(/^https?:\/\/[^/?]*/i, '')
  const rest = prefix !== '' && url.startsWith(prefix) ? url.slice(prefix.length) : url
  if (rest === '' || rest.startsWith('?')) return `/${rest}`
  return rest.startsWith('/') ? rest : url
}

/** Discards bodies: no route but the upload takes one, and sending one, of whatever type, is no error. */
function ignoreBodies(app: FastifyInstance) {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, payload, done) => {
    payload.resume()
    done(null)
  })
  // The upload reads this one itself.
  app.addContentTypeParser('multipart/form-data', (_request, _payload, done) => done(null))
}

/**
 * Asks for a body that the client holds back only once the request is not refused by its head. Refuses
 * any other expectation as a route would, because Node's own answer has no body.
 */
function answerExpectations(app: FastifyInstance) {
  for (const event of ['checkContinue', 'checkExpectation'])
    app.server.on(event, (...exchange) => app.server.emit('request', ...exchange))
  app.addHook('onRequest', async ({ headers }, reply) => {
    const { expect = '100-continue' } = headers
    if (expect.toLowerCase() === '100-continue') return
    reply.header('connection', 'close') // Whether the client still sends its body is unknown.
    const found = expect.slice(0, 100)
    throw fieldRefused('Expect', 'only 100-continue is known', { code: 'MALFORMED_REQUEST', found })
  })
  app.addHook('preParsing', async ({ is404, raw }, reply) => {
    if (raw.headers.expect && raw.httpVersion === '1.1' && !is404) reply.raw.writeContinue()
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
