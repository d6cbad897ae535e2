import { buckets, type StreamSpec, streams } from '@avatar/contracts'
import {
  type AppError,
  cannotStore,
  type Foundation,
  queueFull,
  type StorageTrouble,
  type StreamState,
  sharedFor,
} from '@avatar/service-kit'

const recordStream = `KV_${buckets.job.name}`
/** A job cannot be accepted unless both of these take a message. */
const admissionStreams: readonly string[] = [streams.EVENTS.name, recordStream]

/** Everybody who asks within this time shares one answer, because `GET /health` needs no key. */
const sharedForMs = 1_000
const answerWithinMs = 1_000
/** Less room than this counts as none: a message with its headers takes about half of it. */
const leastRoomBytes = 2_048
/** A reserve is no larger than this part of a stream whose limit an operator has lowered. */
const largestReserve = 0.1

/** Whether the broker can take another job, and what keeps it from that. */
export type QueueRoom = {
  /** The streams without room for another job. A stream that cannot be read is not named. */
  full: readonly string[]
  /** The broker cannot write to its disk. */
  trouble: StorageTrouble | undefined
}

/** Looks at the broker's streams and its disk. A broker that does not answer has no known trouble. */
export type LookForRoom = () => Promise<QueueRoom>

export function createLookForRoom({ bus, clock }: Pick<Foundation, 'bus' | 'clock'>): LookForRoom {
  const specs: Readonly<Record<string, StreamSpec>> = streams
  const names = [...Object.keys(specs), recordStream]

  async function look(): Promise<QueueRoom> {
    const full = names.map(async (name) =>
      isFull(await bus.streamState(name), specs[name]?.reserveBytes) ? [name] : [],
    )
    const [trouble, ...answers] = await Promise.all([
      bus.storageTrouble(answerWithinMs),
      ...full.map((each) => each.catch(() => [])),
    ])
    return { full: answers.flat(), trouble }
  }

  return sharedFor(clock, sharedForMs, look)
}

/** Why no job can be accepted, or undefined where one can. */
export function refusalOf({ full, trouble }: QueueRoom): AppError | undefined {
  if (trouble) return cannotStore(trouble)
  const needed = admissionStreams.filter((name) => full.includes(name))
  return needed.length > 0 ? queueFull(undefined, needed) : undefined
}

/** A stream that discards its oldest message when it is full always takes another one. */
function isFull(state: StreamState, reserveBytes = 0): boolean {
  const { refusesWhenFull, messages, bytes, maxMessages, maxBytes } = state
  if (!refusesWhenFull) return false
  const hasNoSlot = maxMessages >= 0 && messages >= maxMessages
  const keptBytes = Math.max(leastRoomBytes, Math.min(reserveBytes, maxBytes * largestReserve))
  return hasNoSlot || (maxBytes >= 0 && maxBytes - bytes < keptBytes)
}
