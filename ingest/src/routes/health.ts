import {
  envelopeOf,
  errorEnvelopeSchema,
  type HealthView,
  healthSchema,
  type Offers,
  type OffersView,
} from '@avatar/contracts'
import { z } from 'zod'
import type { Api, AppDeps } from '../app-deps.ts'
import { retryAfterSeconds } from '../error-handler.ts'
import { type QueueRoom, refusalOf } from '../queue-room.ts'
import { toTenths } from '../views.ts'
import { notAllowedAnswers } from './answers.ts'

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
          ...notAllowedAnswers,
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
      const room = hasBroker ? await deps.lookForRoom() : { full: [], trouble: undefined }
      const isOpen = hasBroker && hasStore && !refusalOf(room)
      const queueDepth = deps.board.queueDepth()
      const workerTrouble = deps.workers.trouble(queueDepth)
      const health: HealthView = {
        status: !isOpen ? 'unavailable' : workerTrouble === null ? 'ok' : 'degraded',
        nats: hasBroker && !room.trouble ? 'ok' : 'unavailable',
        storage: hasStore ? 'ok' : 'unavailable',
        workers: deps.workers.alive().map(({ beat, seenMsAgo, aheadMs }) => ({
          engine: beat.engine,
          state: beat.state,
          seen_seconds_ago: toTenths(seenMsAgo / 1000),
          trouble: beat.trouble ?? null,
          offers: beat.offers ? offersView(beat.offers) : null,
          clock_ahead_seconds: toTenths(aheadMs / 1000),
        })),
        worker_trouble: workerTrouble,
        queue_depth: queueDepth,
        scale: deps.scale.health(),
        full_streams: [...room.full],
        problems: problemsOf({ hasBroker, hasStore, room }),
        clock_ahead_seconds: toTenths(deps.agreement.aheadMs() / 1000),
      }
      if (!isOpen) reply.header('retry-after', retryAfterSeconds)
      return reply.code(isOpen ? 200 : 503).send({ data: health, meta: { request_id: request.id } })
    },
  )
}

function offersView({ qualities, ...same }: Offers): OffersView {
  return {
    ...same,
    qualities: qualities.map(({ quality, secondsPerVideoSecond }) => ({
      quality,
      seconds_per_video_second: secondsPerVideoSecond,
    })),
  }
}

/** What is wrong and what cures it. It is public, so it names no path and no address. */
function problemsOf(found: { hasBroker: boolean; hasStore: boolean; room: QueueRoom }): string[] {
  const { hasBroker, hasStore, room } = found
  return [
    ...(hasBroker ? [] : ['The broker does not answer. Start it, or look at its log.']),
    ...(hasStore ? [] : ['The object store does not answer. Start it, or look at its log.']),
    ...(room.trouble ? [room.trouble.sentence] : []),
    ...room.full.map(
      (name) =>
        `The stream ${name} of the broker is full. Let it drain, or raise its max_bytes with ` +
        `\`nats stream edit ${name}\`.`,
    ),
  ]
}
