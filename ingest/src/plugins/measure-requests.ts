import type { Metrics } from '@avatar/service-kit'
import type { FastifyInstance } from 'fastify'

/** Counts and times every request, by route and status, and logs it once. */
export function measureRequests(app: FastifyInstance, { metrics }: { metrics: Metrics }) {
  const duration = metrics.meter.createHistogram('infinitetalk_http_request_duration_seconds', {
    description: 'Time to answer a request, by route and status',
    advice: {
      explicitBucketBoundaries: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30],
    },
  })
  app.addHook('onResponse', async (request, reply) => {
    const route = request.is404 ? 'unknown' : (request.routeOptions.url ?? 'unknown')
    const { method } = request
    const status = reply.statusCode
    duration.record(reply.elapsedTime / 1000, { route, method, status })
    // Waiting clients ask every few seconds. At info, their lines would drown everything else.
    const level = method === 'GET' ? 'debug' : 'info'
    const durationMs = Math.round(reply.elapsedTime)
    request.log[level]({ method, route, status, durationMs }, 'request answered')
  })
}
