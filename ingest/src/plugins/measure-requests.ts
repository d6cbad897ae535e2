import { failures } from '@avatar/contracts'
import type { Metrics } from '@avatar/service-kit'
import type { FastifyInstance, FastifyRequest } from 'fastify'

/** So many owners are told by name, in the order in which they came since the start. */
const ownersByName = 100

/** Counts and times every request, by route and status, and logs it once. An event stream is not timed: it lasts. */
export function measureRequests(app: FastifyInstance, { metrics }: { metrics: Metrics }) {
  const instruments = metrics.of('ingest')
  const labelOf = ownerLabels()

  function measure(request: FastifyRequest, status: number, elapsedMs: number) {
    const { method, owner, failureCode: code } = request
    if (!request.isEventStream)
      instruments.http_request_duration_seconds.record(elapsedMs / 1000, {
        route: routeOf(request),
        method,
        status: String(status),
      })
    if (owner) instruments.owner_requests_total.add(1, { owner: labelOf(owner) })
    if (code && !request.is404 && request.routeOptions.config.isSubmit)
      instruments.submissions_refused_total.add(1, {
        ...{ door: 'rest', code, blame: failures[code].blame },
      })
  }

  app.addHook('onResponse', async (request, reply) => {
    const route = routeOf(request)
    const { method } = request
    const status = reply.statusCode
    measure(request, status, reply.elapsedTime)
    // Waiting clients ask every few seconds. At info, their lines would drown everything else.
    // A failure has a line of its own.
    const level = method === 'GET' || status >= 400 ? 'debug' : 'info'
    const durationMs = Math.round(reply.elapsedTime)
    request.log[level]({ method, route, status, durationMs }, 'request answered')
  })
}

function routeOf(request: FastifyRequest): string {
  return request.is404 ? 'unknown' : (request.routeOptions.url ?? 'unknown')
}

/** The labels of owners. They are no closed set, so all after the first hundred share one. */
export function ownerLabels() {
  const named = new Set<string>()
  return (owner: string): string => {
    if (named.size < ownersByName) named.add(owner)
    return named.has(owner) ? owner : 'other'
  }
}
