import { consumers, streams } from '@avatar/contracts'
import {
  background,
  type ConsumerState,
  type Foundation,
  type Runnable,
  type StreamState,
} from '@avatar/service-kit'

const readEveryMs = 15_000
/** A broker that does not answer leaves its figures as they were for so many passes, then they are gone. */
const passesKept = 4

type StreamName = keyof typeof streams

/** Asks the broker now and then how full its streams are and how far their readers. */
export function streamMetrics(
  deps: Pick<Foundation, 'bus' | 'clock' | 'log' | 'metrics' | 'timings'>,
): Runnable {
  const { bus, clock } = deps
  const instruments = deps.metrics.of('orchestrator')
  const names = Object.keys(streams) as StreamName[] // keys() forgets them.
  const specs = Object.values(consumers(deps.timings))
  let found: {
    atMs: number
    streams: readonly (readonly [StreamName, StreamState])[]
    consumers: readonly (readonly [string, ConsumerState])[]
  } = { atMs: 0, streams: [], consumers: [] }

  const latest = () =>
    clock.monotonicMs() - found.atMs > passesKept * readEveryMs
      ? { streams: [], consumers: [] }
      : found

  for (const [name, field] of [
    ['stream_messages', 'messages'],
    ['stream_bytes', 'bytes'],
    ['stream_last_sequence', 'lastSequence'],
  ] as const)
    instruments[name].observe((tell) => {
      for (const [stream, state] of latest().streams) tell(state[field], { stream })
    })
  for (const [name, field] of [
    ['consumer_pending', 'pending'],
    ['consumer_ack_pending', 'ackPending'],
    ['consumer_redelivered', 'redelivered'],
  ] as const)
    instruments[name].observe((tell) => {
      for (const [consumer, state] of latest().consumers) tell(state[field], { consumer })
    })

  return background({
    ...deps,
    name: 'stream metrics',
    everyMs: readEveryMs,
    async pass() {
      const [ofStreams, ofConsumers] = await Promise.all([
        Promise.all(names.map(async (name) => [name, await bus.streamState(name)] as const)),
        Promise.all(specs.map(async (spec) => [spec.name, await bus.consumerState(spec)] as const)),
      ])
      found = { atMs: clock.monotonicMs(), streams: ofStreams, consumers: ofConsumers }
    },
  })
}
