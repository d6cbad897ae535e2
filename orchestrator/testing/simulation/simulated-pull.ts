import type { ConsumerSpec } from '@avatar/contracts'
import type { Bus } from '@avatar/service-kit'
import type { SimulatedBroker } from './simulated-broker.ts'
import type { Puller, Stored } from './simulated-streams.ts'
import type { SimulatedProcess } from './simulated-time.ts'

type Consumer = Awaited<ReturnType<Bus['consumer']>>

/** What of the client library's consumer our own loop uses. */
export function pullFrom(
  broker: SimulatedBroker,
  process: SimulatedProcess,
  { name }: Pick<ConsumerSpec, 'name'>,
): Consumer {
  const found = broker.consumers.find(({ spec }) => spec.name === name)
  if (!found) throw new Error(`there is no consumer ${name}`)
  const consumer = found

  /** Tells the broker something about a delivery; it may never arrive. */
  const tell = (work: () => void) =>
    void broker.exchange(process, 1, () => {
      work()
      broker.pump(consumer)
    })

  const asJsMsg = ({ subject, sequence, text, traceparent }: Stored, deliveryCount: number) => ({
    ...{ subject, seq: sequence, info: { deliveryCount } },
    headers: { get: (header: string) => (header === 'traceparent' ? (traceparent ?? '') : '') },
    string: () => text,
    ack: () => tell(() => consumer.ack(sequence, process.time.nowMs)),
    term: () => tell(() => consumer.ack(sequence, process.time.nowMs)),
    nak: (ms = 0) => tell(() => consumer.put(sequence, process.time.nowMs, ms)),
    working: () => tell(() => consumer.put(sequence, process.time.nowMs)),
  })

  async function consume({ max_messages: most = 100 } = {}) {
    const waiting: ReturnType<typeof asJsMsg>[] = []
    let wake: () => void = () => undefined
    let isStopped = false
    let pulling = 0
    const puller: Puller = {
      offer(message, deliveryCount) {
        if (!process.isAlive) {
          consumer.pullers.delete(puller)
          return false
        }
        if (!broker.reaches(process) || waiting.length + pulling >= most) return false
        pulling++
        // It may be lost on its way: then the broker delivers it again when its time is over.
        void broker
          .exchange(process, 1_000, () => true)
          .then((arrived) => {
            pulling--
            if (arrived === true) waiting.push(asJsMsg(message, deliveryCount))
            wake()
          })
        return true
      },
    }
    consumer.pullers.add(puller)
    await broker.exchange(process, 1_000, () => broker.pump(consumer))
    const stop = () => {
      isStopped = true
      consumer.pullers.delete(puller)
      wake()
    }
    return {
      async *[Symbol.asyncIterator]() {
        for (;;) {
          const next = waiting.shift()
          if (next) {
            yield next
            broker.pump(consumer)
          } else if (isStopped) return
          else
            await new Promise<void>((resolve) => {
              wake = resolve
            })
        }
      },
      /** It has nothing to tell. */
      async *status() {
        await new Promise(() => undefined)
      },
      stop,
      close: async () => stop(),
    }
  }

  // Of its many methods our loop calls this one.
  return { consume } as unknown as Consumer
}
