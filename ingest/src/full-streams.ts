import { buckets, streams } from '@avatar/contracts'
import type { Bus, Clock, StreamState } from '@avatar/service-kit'

/** Without room in these no job can be accepted. */
export const admissionStreams: readonly string[] = [streams.EVENTS.name, `KV_${buckets.job.name}`]

/** The call is public: whoever asks within this time gets the same answer. */
const sharedForMs = 1_000
/** Less room than this is none: a message and its headers take about half of it. */
const leastRoomBytes = 2_048

/** The names of the streams that take no more; none while the broker does not answer. */
export type FullStreams = () => Promise<readonly string[]>

export function createFullStreams({ bus, clock }: { bus: Bus; clock: Clock }): FullStreams {
  const names = [...Object.keys(streams), `KV_${buckets.job.name}`]
  let shared: { answer: Promise<readonly string[]>; untilMs: number } | undefined

  async function look(): Promise<readonly string[]> {
    const full = names.map(async (name) => (isFull(await bus.streamState(name)) ? [name] : []))
    const answers = await Promise.allSettled(full)
    return answers.flatMap((one) => (one.status === 'fulfilled' ? one.value : []))
  }

  return async () => {
    const nowMs = clock.monotonicMs()
    if (!shared || nowMs >= shared.untilMs)
      shared = { answer: look(), untilMs: nowMs + sharedForMs }
    return shared.answer
  }
}

/** A stream that drops its oldest message when it is full always takes one more. */
function isFull({ refusesWhenFull, messages, bytes, maxMessages, maxBytes }: StreamState): boolean {
  if (!refusesWhenFull) return false
  const hasNoSlot = maxMessages >= 0 && messages >= maxMessages
  return hasNoSlot || (maxBytes >= 0 && maxBytes - bytes < leastRoomBytes)
}
