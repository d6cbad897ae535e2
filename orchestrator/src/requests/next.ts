import { type NextAnswer, type NextRequest, poolOfSubject } from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'
import type { Dispatcher } from '../dispatch/dispatcher.ts'

/**
 * Answers a worker that asks for its next job. Who asks is told by the subject alone, on which the broker
 * lets it publish; a body that names another pool is a lie or a mistake.
 *
 * @throws AppError INVALID_MESSAGE
 */
export function answerNext(dispatcher: Pick<Dispatcher, 'answer'>) {
  return async (
    request: NextRequest,
    _traceparent: string | undefined,
    subject: string,
  ): Promise<NextAnswer | undefined> => {
    const pool = poolOfSubject(subject)
    if (pool !== request.pool)
      throw new AppError('INVALID_MESSAGE', { details: { pool: request.pool, subject } })
    return dispatcher.answer(request)
  }
}
