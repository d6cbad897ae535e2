import {
  contractsNumber,
  type HelloAnswer,
  type HelloRequest,
  poolOfSubject,
} from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'
import type { Scaler } from '../scale/pass.ts'

/**
 * Answers a worker that asks whether to stay. It changes the worker's wake-up at most, and publishes nothing.
 * Workers of a pool that nobody scales may stay for as long as they like.
 *
 * @throws AppError INVALID_MESSAGE
 */
export function answerHello(deps: {
  scaler: Pick<Scaler, 'hello'>
  /** The pool that is scaled; undefined where none is. */
  scaledPoolName: string | undefined
}) {
  return async (
    request: HelloRequest,
    _traceparent: string | undefined,
    subject: string,
  ): Promise<HelloAnswer | undefined> => {
    const pool = poolOfSubject(subject)
    if (pool !== request.pool)
      throw new AppError('INVALID_MESSAGE', { details: { pool: request.pool, subject } })
    if (pool === deps.scaledPoolName) return deps.scaler.hello(request)
    if (request.contracts >= contractsNumber - 1)
      return { answer: 'work', idleSeconds: 0, lifetimeSeconds: 0 }
    const reason = `this worker is too old: it speaks contracts ${request.contracts}`
    return { answer: 'leave', reason }
  }
}
