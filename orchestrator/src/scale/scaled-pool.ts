import { isAtWork } from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'
import type { Wakes } from './wake.ts'
import { isOf } from './wake-steps.ts'

/** Which workers' requests count. */
export type ScaledPool = {
  /**
   * Workers of the scaled pool count only while their wake-up is at work: a pool's password alone opens no
   * customer's media. Workers of other pools always do.
   *
   * @throws AppError BROKER_UNAVAILABLE while nobody can tell: the worker asks again
   */
  admits(worker: { pool: string | undefined; workerId: string; incarnation?: string }): boolean
}

/** @param pool that is scaled; undefined where none is */
export function createScaledPool(
  pool: string | undefined,
  wakes: Pick<Wakes, 'all' | 'isReady'>,
): ScaledPool {
  return {
    admits(worker) {
      if (pool === undefined || worker.pool !== pool) return true
      const isKnown = wakes
        .all()
        .some((wake) => wake.pool === pool && isAtWork(wake) && isOf(wake, worker))
      if (!isKnown && !wakes.isReady()) throw new AppError('BROKER_UNAVAILABLE')
      return isKnown
    },
  }
}
