import { canDo, type Needs, type Offers } from '@avatar/contracts'
import { AppError, type Clock } from '@avatar/service-kit'
import type { ScaleView } from './scale-view.ts'
import type { Workers } from './workers.ts'

/**
 * Says of a job that no worker of this installation does such jobs: then waiting for one is of no use.
 * In doubt it says nothing, and the job waits: while no worker is heard, or one that is has not told what
 * it can do; while the pool whose workers are woken has never been heard; and shortly after a start,
 * before all can have been heard.
 */
export function createOfferCheck(deps: {
  workers: Pick<Workers, 'alive' | 'toldByPool'>
  scale: Pick<ScaleView, 'scaled'>
  clock: Pick<Clock, 'monotonicMs'>
  timings: { silentAfterMs: number }
}) {
  const { workers, scale, clock, timings } = deps
  const listeningSinceMs = clock.monotonicMs()

  return {
    /** The refusal, where it is certain. */
    refusalOf(needs: Needs): AppError | undefined {
      if (clock.monotonicMs() - listeningSinceMs < timings.silentAfterMs) return undefined
      const alive = workers.alive()
      if (alive.length === 0 || alive.some(({ beat }) => !beat.engineFacts)) return undefined
      const told = workers.toldByPool()
      const pool = scale.scaled()?.pool
      if (pool !== undefined && !told.some((one) => one.pool === pool)) return undefined
      if (told.some(({ offers }) => canDo(offers, needs))) return undefined
      const { quality, speakers, video } = needs
      return new AppError('NOT_OFFERED', {
        details: { needed: { quality, speakers, video }, offered: told.map(offeredBy) },
      })
    },
  }
}

export type OfferCheck = ReturnType<typeof createOfferCheck>

function offeredBy({ offers }: { offers: Offers | undefined }) {
  const { qualities = [], speakers = 1, video = false } = offers ?? {}
  return { qualities: qualities.map(({ quality }) => quality), speakers, video }
}
