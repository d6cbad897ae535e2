import { type NextAnswer, type NextRequest, poolOfSubject } from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'
import type { Dispatcher } from '../dispatch/dispatcher.ts'
import type { ScaledPool } from '../scale/scaled-pool.ts'

/**
 * Answers a worker that asks for its next job. Who asks is told by the subject alone, on which the broker
 * lets it publish; a body that names another pool is a lie or a mistake.
 *
 * @throws AppError INVALID_MESSAGE, or BROKER_UNAVAILABLE while nobody knows the wake-ups
 */
export function answerNext(deps: {
  dispatcher: Pick<Dispatcher, 'answer'>
  scaledPool: ScaledPool
}) {
  return async (
    request: NextRequest,
    _traceparent: string | undefined,
    subject: string,
  ): Promise<NextAnswer | undefined> => {
    const pool = poolOfSubject(subject)
    if (pool !== request.pool)
      throw new AppError('INVALID_MESSAGE', { details: { pool: request.pool, subject } })
    if (!deps.scaledPool.admits(request)) return { answer: 'none' }
    return deps.dispatcher.answer(request)
  }
}
