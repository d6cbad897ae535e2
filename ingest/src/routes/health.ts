import { envelopeOf, errorEnvelopeSchema, type HealthView, healthSchema } from '@avatar/contracts'
import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { AppDeps } from '../app-deps.ts'
import { retryAfterSeconds } from '../error-handler.ts'

/** How long the broker may take to answer, in ms. */
const brokerAnswerMs = 1_000

/** `GET /health`: whether jobs are accepted. No worker at hand is no failure: jobs wait. */
export function routeHealth(app: FastifyInstance, deps: AppDeps) {
  app.withTypeProvider<ZodTypeProvider>().get(
    '/health',
    {
      config: { isPublic: true },
      schema: {
        operationId: 'getHealth',
        summary: 'Whether jobs are accepted',
        security: [],
        response: {
          200: envelopeOf(healthSchema).describe('Jobs are accepted.'),
          // The second while the service closes.
          503: z
            .union([envelopeOf(healthSchema), errorEnvelopeSchema])
            .describe('Something is away, or the service closes.'),
        },
      },
    },
    async (request, reply) => {
      const [hasBroker, hasStore] = await Promise.all([
        deps.bus.answers(brokerAnswerMs),
        deps.objects.isReachable(),
      ])
      const health: HealthView = {
        status: hasBroker && hasStore ? 'ok' : 'unavailable',
        nats: hasBroker ? 'ok' : 'unavailable',
        storage: hasStore ? 'ok' : 'unavailable',
        workers: deps.workers.alive().map(({ beat, seenMsAgo }) => ({
          engine: beat.engine,
          state: beat.state,
          seen_seconds_ago: Math.round(seenMsAgo / 100) / 10,
        })),
        queue_depth: deps.board.queueDepth(),
      }
      if (health.status !== 'ok') reply.header('retry-after', retryAfterSeconds)
      return reply
        .code(health.status === 'ok' ? 200 : 503)
        .send({ data: health, meta: { request_id: request.id } })
    },
  )
}
