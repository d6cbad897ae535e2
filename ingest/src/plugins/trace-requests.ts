import { failures, spanAttributes } from '@avatar/contracts'
import { beginTrace, isTracing, openSpan } from '@avatar/service-kit'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { IngestConfig } from '../config.ts'
import { translate } from '../error-handler.ts'

/** Waiting clients ask for the rest every few seconds. */
const tracedRoutes: ReadonlySet<string | undefined> = new Set(['/generate', '/cancel/:job_id'])

/** The trace of a request: kept by chance where its route is traced, and never of one that polls. */
export function traceOfRequest(request: FastifyRequest, config: IngestConfig) {
  const { traceparent } = request.headers
  const isTraced = isTracing() && tracedRoutes.has(request.routeOptions.url)
  const ratio = isTraced && request.method === 'POST' ? config.TRACE_JOBS_RATIO : 0
  return beginTrace(typeof traceparent === 'string' ? traceparent : undefined, ratio)
}

/**
 * Writes a span for each request of a traced route. Install it after the hook that asks for the key: a
 * request without one leaves no span. The time that the hook took still counts.
 */
export function traceRequests(app: FastifyInstance) {
  app.addHook('onRequest', (request, reply, done) => {
    const { method, owner, trace } = request
    const route = request.routeOptions.url
    if (!trace.isSampled || route === undefined) return done()
    const span = openSpan(`${method as 'POST'} ${route as `/${string}`}`, {
      ...{ trace, kind: 'server', agoMs: reply.elapsedTime },
      attributes: {
        [spanAttributes.httpMethod]: method,
        [spanAttributes.httpRoute]: route,
        [spanAttributes.owner]: owner,
      },
    })
    request.span = span
    span.run(done)
  })
  app.addHook('onError', async ({ span }, _reply, error) => {
    const failure = translate(error)
    // A caller's mistake is no failure of the one who answers it.
    if (failures[failure.code].httpStatus >= 500) span?.fail(failure)
    else span?.set({ [spanAttributes.errorType]: failure.code })
  })
  app.addHook('onResponse', async ({ span }, { statusCode }) => {
    span?.set({ [spanAttributes.httpStatus]: statusCode })
    span?.end()
  })
}
