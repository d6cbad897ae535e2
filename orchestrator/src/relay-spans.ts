import { subjects } from '@avatar/contracts'
import {
  type Bus,
  type BusMessage,
  type Clock,
  type Collector,
  createCollectorClient,
  inTime,
  type Log,
  type Metrics,
  type Runnable,
} from '@avatar/service-kit'

/** A post costs as much as twenty spans: what several workers say meanwhile goes with it. */
const collectMs = 1_000
const messagesPerPost = 20
/** With a full post each, 4 MB. */
const postsInFlightMax = 4
/** The stop of the service waits for the same collector once more, with our own spans. */
const stopWithinMs = 500

/** How a message of a worker begins and ends. Nothing else can be joined, nor is it looked at. */
const before = Buffer.from('{"resourceSpans":[')
const after = Buffer.from(']}')
const comma = Buffer.from(',')

/**
 * Passes the workers' spans on to the collector, as they are: a GPU machine then needs neither its address
 * nor a token. What the collector does not take in time, and what comes while too much is under way, is
 * dropped and counted.
 *
 * @returns no part without a collector
 */
export function createSpanRelay(deps: {
  bus: Bus
  clock: Clock
  log: Log
  metrics: Pick<Metrics, 'countDroppedSpans'>
  collector: Collector | undefined
}): Runnable[] {
  const { bus, clock, log, metrics, collector } = deps
  if (!collector) return []
  let client = createCollectorClient(collector)
  let waiting: BusMessage[] = []
  const inFlight = new Set<Promise<void>>()
  let subscribed: { stop(): void } | undefined
  let stopping = new AbortController()

  /** @returns whether the collector took them; false if it found something wrong with them */
  async function post(messages: readonly BusMessage[]): Promise<boolean> {
    const status = await client.post(joined(messages))
    const isTaken = status >= 200 && status <= 299
    if (isTaken || status === 400) return isTaken
    throw new Error(`the collector answered ${status}`)
  }

  /** One worker's nonsense must not cost the spans of others: then each is posted alone. */
  async function deliver(messages: readonly BusMessage[]): Promise<void> {
    try {
      if (await post(messages)) return
      if (messages.length === 1) throw new Error('the collector cannot read it')
      for (const message of messages) await deliver([message])
    } catch (error) {
      drop(messages, error)
    }
  }

  function drop(messages: readonly BusMessage[], error: unknown) {
    for (const message of messages) metrics.countDroppedSpans(spansIn(message))
    const subject = messages[0]?.subject
    log.debug({ err: error, subject, count: messages.length }, "workers' spans dropped")
  }

  function send() {
    const messages = waiting
    waiting = []
    if (messages.length === 0) return
    const delivering = deliver(messages).finally(() => inFlight.delete(delivering))
    inFlight.add(delivering)
  }

  function take(message: BusMessage) {
    if (inFlight.size >= postsInFlightMax) return drop([message], new Error('too many in flight'))
    if (!isJoinable(message)) return drop([message], new Error('it is no OTLP/JSON'))
    waiting.push(message)
    if (waiting.length >= messagesPerPost) return send()
    if (waiting.length === 1) void clock.wait(collectMs, stopping.signal).then(send)
  }

  return [
    {
      async start() {
        if (stopping.signal.aborted) {
          stopping = new AbortController()
          client = createCollectorClient(collector)
        }
        subscribed ??= bus.subscribe(subjects.spans('*'), take, { queue: 'orchestrator' })
      },
      async stop() {
        subscribed?.stop()
        subscribed = undefined
        stopping.abort()
        send()
        await inTime(clock, stopWithinMs, Promise.all(inFlight))
        client.stop()
      },
    },
  ]
}

function isJoinable(message: BusMessage): boolean {
  const bytes = Buffer.from(message.bytes())
  return (
    bytes.subarray(0, before.length).equals(before) &&
    bytes.subarray(-after.length).equals(after) &&
    bytes.length > before.length + after.length
  )
}

/** Several messages as one, without a look at what is in them; one alone to the byte. */
function joined(messages: readonly BusMessage[]): Uint8Array {
  const inner = messages.flatMap((message, at) => {
    const own = message.bytes().subarray(before.length, -after.length)
    return at === 0 ? [own] : [comma, own]
  })
  return Buffer.concat([before, ...inner, after])
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
