import type { WorkerPosting } from './ledger.ts'
import { costMicros } from './prices.ts'

/** How a worker spent its time on one day, and what that costs. */
export type WorkerDay = {
  pool: string
  loadingSeconds: number
  idleSeconds: number
  renderingSeconds: number
  priceMicros: number
}

/** The workers' days so far. Postings may come again and in any order: the last of each day counts. */
export function createWorkerDays() {
  const incarnations = new Map<string, Map<string, WorkerPosting>>()

  return {
    note(day: string, posting: WorkerPosting): void {
      const name = `${posting.workerId} ${posting.incarnation}`
      const days = incarnations.get(name) ?? new Map<string, WorkerPosting>()
      incarnations.set(name, days.set(day, posting))
    },

    /** What each incarnation spent on a day: its last posting of the day, less its last one before. */
    daysOf(day: string): WorkerDay[] {
      return [...incarnations.values()].flatMap((days) => {
        const last = days.get(day)
        if (!last) return []
        const earlier = [...days.keys()].filter((other) => other < day).toSorted()
        return [difference(last, days.get(earlier.at(-1) ?? ''))]
      })
    },
  }
}

function difference(last: WorkerPosting, before: WorkerPosting | undefined): WorkerDay {
  // Never below zero: of two orchestrators, the one that is behind may write last.
  const since = (now: number, then = 0) => Math.max(0, now - then)
  return {
    pool: last.pool,
    priceMicros: last.priceMicros,
    loadingSeconds: since(last.loadingSeconds, before?.loadingSeconds),
    idleSeconds: since(last.idleSeconds, before?.idleSeconds),
    renderingSeconds: since(last.renderingSeconds, before?.renderingSeconds),
  }
}

/** What a worker's seconds cost, at the price of its pool. */
export function costOf(seconds: number, { priceMicros }: Pick<WorkerDay, 'priceMicros'>) {
  return { gpuSeconds: seconds, micros: costMicros(seconds, priceMicros) }
}

/** What all of a worker's day costs. */
export function costOfDay(day: WorkerDay) {
  const { loadingSeconds, idleSeconds, renderingSeconds } = day
  return costOf(loadingSeconds + idleSeconds + renderingSeconds, day)
}
