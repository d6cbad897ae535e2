import { buckets, streams } from '@avatar/contracts'
import { type Foundation, type StreamState, sharedFor } from '@avatar/service-kit'

const recordStream = `KV_${buckets.job.name}`
/** A job cannot be accepted unless both of these take a message. */
const admissionStreams: readonly string[] = [streams.EVENTS.name, recordStream]

/** Everybody who asks within this time shares one answer, because `GET /health` needs no key. */
const sharedForMs = 1_000
/** Less room than this counts as none: a message with its headers takes about half of it. */
const leastRoomBytes = 2_048

/** The names of the streams that refuse messages for lack of room. A stream that cannot be read is not named. */
export type FullStreams = () => Promise<readonly string[]>

export function createFullStreams({ bus, clock }: Pick<Foundation, 'bus' | 'clock'>): FullStreams {
  const names = [...Object.keys(streams), recordStream]

  async function look(): Promise<readonly string[]> {
    const full = names.map(async (name) => (isFull(await bus.streamState(name)) ? [name] : []))
    const answers = await Promise.allSettled(full)
    return answers.flatMap((one) => (one.status === 'fulfilled' ? one.value : []))
  }

  return sharedFor(clock, sharedForMs, look)
}

/** Whether no job can be accepted while these streams are full. */
export function blocksAdmission(full: readonly string[]): boolean {
  return admissionStreams.some((name) => full.includes(name))
}

/** A stream that discards its oldest message when it is full always takes another one. */
function isFull({ refusesWhenFull, messages, bytes, maxMessages, maxBytes }: StreamState): boolean {
  if (!refusesWhenFull) return false
  const hasNoSlot = maxMessages >= 0 && messages >= maxMessages
  return hasNoSlot || (maxBytes >= 0 && maxBytes - bytes < leastRoomBytes)
}
