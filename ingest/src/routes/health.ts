import { envelopeOf, errorEnvelopeSchema, type HealthView, healthSchema } from '@avatar/contracts'
import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { AppDeps } from '../app-deps.ts'
import { retryAfterSeconds } from '../error-handler.ts'
import { admissionStreams, createFullStreams } from '../full-streams.ts'

/** How long the broker and the store may take to answer. */
const answerWithinMs = 1_000

/**
 * `GET /health`: whether jobs are accepted. Having no worker is no failure: jobs wait. A full stream is
 * one where a job cannot be accepted without it.
 */
export function routeHealth(app: FastifyInstance, deps: AppDeps) {
  const fullStreams = createFullStreams(deps)
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
        deps.bus.ping(answerWithinMs),
        deps.objects.isReachable(answerWithinMs),
      ])
      const full = hasBroker ? await fullStreams() : []
      const hasRoom = !admissionStreams.some((name) => full.includes(name))
      const health: HealthView = {
        status: hasBroker && hasStore && hasRoom ? 'ok' : 'unavailable',
        nats: hasBroker ? 'ok' : 'unavailable',
        storage: hasStore ? 'ok' : 'unavailable',
        workers: deps.workers.alive().map(({ beat, seenMsAgo }) => ({
          engine: beat.engine,
          state: beat.state,
          seen_seconds_ago: Math.round(seenMsAgo / 100) / 10,
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
