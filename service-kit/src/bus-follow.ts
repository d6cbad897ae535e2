import { addAbortListener } from 'node:events'
import { type OrderedSource, readInOrder } from './bus-ordered.ts'
import type { StoredMessage } from './bus-streams.ts'
import { AppError } from './errors.ts'

export type FollowOptions = {
  signal: AbortSignal
  /** Leaves out the messages before this one; without it, everything is read. */
  fromSequence?: number
  onMessage: (message: StoredMessage) => void
  /** Called once everything that was stored before has been handed over. */
  onCurrent?: () => void
}

/**
 * Hands over every stored message on a subject (wildcards allowed) in order, then each new one, until the signal aborts.
 * A lost connection ends it too, because what was missed is read at once only by a new start from the
 * sequence after the last one seen.
 *
 * @throws AppError BROKER_UNAVAILABLE
 */
export async function followStream(
  broker: OrderedSource & { onDisconnect: (call: () => void) => { stop(): void } },
  stream: string,
  subject: string,
  { signal, fromSequence = 1, onMessage, onCurrent = () => undefined }: FollowOptions,
): Promise<void> {
  let isLost = false
  const lost = broker.onDisconnect(() => {
    isLost = true
  })
  try {
    const reading = await readInOrder(broker, stream, { subject, sequence: fromSequence })
    const stopping = [
      addAbortListener(signal, () => reading.stop()),
      asDisposable(broker.onDisconnect(() => reading.stop())),
    ]
    try {
      let isCurrent = reading.pending === 0
      if (isLost || signal.aborted) reading.stop()
      else if (isCurrent) onCurrent()
      for await (const message of reading.messages) {
        onMessage({ subject: message.subject, sequence: message.seq, body: bodyOf(message) })
        if (isCurrent || message.info.pending > 0) continue
        isCurrent = true
        onCurrent()
      }
    } finally {
      for (const each of stopping) each[Symbol.dispose]()
      // It may have been lost with the connection, and would stay for a minute otherwise.
      if (isLost) reading.stop()
      else await reading.close()
    }
  } finally {
    lost.stop()
  }
  if (!signal.aborted) throw new AppError('BROKER_UNAVAILABLE')
}

/** Everything that is stored on a subject now, in order. @throws AppError BROKER_UNAVAILABLE */
export async function readAll(
  follow: (options: FollowOptions) => Promise<void>,
): Promise<StoredMessage[]> {
  const messages: StoredMessage[] = []
  const done = new AbortController()
  await follow({
    signal: done.signal,
    onMessage: (message) => messages.push(message),
    onCurrent: () => done.abort(),
  })
  return messages
}

const asDisposable = ({ stop }: { stop(): void }) => ({ [Symbol.dispose]: stop })

/** Undefined for what is no JSON: the reader's schema refuses it. */
function bodyOf(message: { json(): unknown }): unknown {
  try {
    return message.json()
  } catch {
    return undefined
  }
}
