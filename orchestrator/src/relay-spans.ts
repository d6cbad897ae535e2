import { subjects } from '@avatar/contracts'
import type { Bus, BusMessage, Collector, Log, Metrics, Runnable } from '@avatar/service-kit'

const inFlightMax = 20
const postWithinMs = 2_000

/**
 * Passes the workers' spans on to the collector, as they are: a GPU machine then needs neither its address
 * nor a token. What the collector does not take in time, and what comes while too much is under way, is
 * dropped and counted.
 *
 * @returns no part without a collector
 */
export function createSpanRelay(deps: {
  bus: Bus
  log: Log
  metrics: Pick<Metrics, 'countDroppedSpans'>
  collector: Collector | undefined
}): Runnable[] {
  const { bus, log, metrics, collector } = deps
  if (!collector) return []
  const { url, headers } = collector
  const inFlight = new Set<Promise<void>>()
  let subscribed: { stop(): void } | undefined

  async function post(message: BusMessage) {
    try {
      const answer = await fetch(url, {
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/json' },
        body: message.bytes(),
        redirect: 'error',
        signal: AbortSignal.timeout(postWithinMs),
      })
      await answer.body?.cancel() // Else the connection stays taken.
      if (!answer.ok) drop(message, new Error(`the collector answered ${answer.status}`))
    } catch (error) {
      drop(message, error)
    }
  }

  function drop(message: BusMessage, error: unknown) {
    metrics.countDroppedSpans(spansIn(message))
    log.debug({ err: error, subject: message.subject }, "a worker's spans dropped")
  }

  return [
    {
      async start() {
        subscribed ??= bus.subscribe(
          subjects.spans('*'),
          (message) => {
            if (inFlight.size >= inFlightMax) return drop(message, new Error('too many in flight'))
            const posting = post(message).finally(() => inFlight.delete(posting))
            inFlight.add(posting)
          },
          { queue: 'orchestrator' },
        )
      },
      async stop() {
        subscribed?.stop()
        subscribed = undefined
        await Promise.all(inFlight)
      },
    },
  ]
}

/** How many spans a message holds; 1 of what cannot be read. */
function spansIn(message: BusMessage): number {
  try {
    const { resourceSpans } = message.json() as {
      resourceSpans: { scopeSpans: { spans: unknown[] }[] }[]
    } // What has another form throws below.
    const scopes = resourceSpans.flatMap(({ scopeSpans }) => scopeSpans)
    return scopes.reduce((sum, { spans }) => sum + spans.length, 0)
  } catch {
    return 1
  }
}
