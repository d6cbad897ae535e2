import { envelopeOf, errorEnvelopeSchema, type HealthView, healthSchema } from '@avatar/contracts'
import { z } from 'zod'
import type { Api, AppDeps } from '../app-deps.ts'
import { retryAfterSeconds } from '../error-handler.ts'
import { blocksAdmission } from '../full-streams.ts'
import { toTenths } from '../views.ts'

/** How long the broker and the store may take to answer. Monitoring clients give up after a few seconds. */
const answerWithinMs = 1_000

/**
 * `GET /health`: whether jobs are accepted. Without a worker they are, and wait. Every full stream is
 * named; only one that an admission needs makes the answer a 503.
 */
export function routeHealth(app: Api, deps: AppDeps) {
  app.get(
    '/health',
    {
      config: { isPublic: true },
      schema: {
        operationId: 'getHealth',
        summary: 'Whether jobs are accepted',
        security: [],
        response: {
          200: envelopeOf(healthSchema).describe('Jobs are accepted.'),
          // An error envelope only while the service closes.
          503: z
            .union([envelopeOf(healthSchema), errorEnvelopeSchema])
            .describe('Something is unavailable, or the service closes.'),
        },
      },
    },
    async (request, reply) => {
      const [hasBroker, hasStore] = await Promise.all([
        deps.bus.ping(answerWithinMs),
        deps.objects.isReachable(answerWithinMs),
      ])
      const full = hasBroker ? await deps.fullStreams() : []
      const health: HealthView = {
        status: hasBroker && hasStore && !blocksAdmission(full) ? 'ok' : 'unavailable',
        nats: hasBroker ? 'ok' : 'unavailable',
        storage: hasStore ? 'ok' : 'unavailable',
        workers: deps.workers.alive().map(({ beat, seenMsAgo }) => ({
          engine: beat.engine,
          state: beat.state,
          seen_seconds_ago: toTenths(seenMsAgo / 1000),
        })),
        queue_depth: deps.board.queueDepth(),
        full_streams: [...full],
      }
      if (health.status !== 'ok') reply.header('retry-after', retryAfterSeconds)
      return reply
        .code(health.status === 'ok' ? 200 : 503)
        .send({ data: health, meta: { request_id: request.id } })
    },
  )
}
