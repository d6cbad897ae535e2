import { tokenMs } from '@avatar/contracts'
import { AppError, type Clock, type Delivery } from '@avatar/service-kit'
import { LRUCache } from 'lru-cache'
import type { Rates } from './policies.ts'
import type { Tokens } from './tokens.ts'

/** When the events of publishers may become jobs. */
export type PublisherTurns = ReturnType<typeof createPublisherTurns>

/** An event is looked at again after this at the latest: its publisher's limits may have been raised. */
const longestWaitMs = 60_000
/** Until then an event that is due may still be on its way; afterwards another replica has it. */
const graceMs = 2_000
const rememberedEvents = 20_000

/**
 * An event takes the same token as a submission over HTTP. Without one it is handed back for as long as
 * its place among the waiting events of its publisher needs: delayed, never refused or lost.
 */
export function createPublisherTurns(deps: { tokens: Tokens; rates: Rates; clock: Clock }) {
  const { tokens, rates, clock } = deps
  /** Publisher → event, by its sequence → when it comes back. */
  const waiting = new Map<string, Map<number, number>>()
  /** Events that have their token, and may come again because something else failed. */
  const paid = new LRUCache<number, true>({ max: rememberedEvents })

  /** 1 for the event that is next. */
  function placeOf(events: Map<number, number>, sequence: number, nowMs: number): number {
    let place = 1
    for (const [other, dueMs] of events)
      if (dueMs + graceMs < nowMs) events.delete(other)
      else if (other < sequence) place++
    return place
  }

  return {
    /**
     * Takes the event's token.
     *
     * @throws AppError TOO_MANY_REQUESTS with the time to wait; BROKER_UNAVAILABLE
     */
    async take(publisher: string, { sequence }: Pick<Delivery, 'sequence'>): Promise<void> {
      if (paid.has(sequence)) return
      const rate = rates.submit(publisher)
      const taken = await tokens.take(`${publisher}.submit`, rate)
      if (taken.isBrokerAway) throw new AppError('BROKER_UNAVAILABLE')
      const events = waiting.get(publisher) ?? new Map<number, number>()
      events.delete(sequence)
      if (taken.isLetIn) {
        paid.set(sequence, true)
        if (events.size === 0) waiting.delete(publisher)
        return
      }
      const nowMs = clock.monotonicMs()
      const place = placeOf(events, sequence, nowMs)
      const retryAfterMs = Math.min(longestWaitMs, place * tokenMs(rate))
      waiting.set(publisher, events.set(sequence, nowMs + retryAfterMs))
      throw new AppError('TOO_MANY_REQUESTS', { retryAfterMs })
    },
  }
}
