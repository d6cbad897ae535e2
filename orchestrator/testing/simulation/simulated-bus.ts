import type { BucketSpec, ConsumerSpec } from '@avatar/contracts'
import {
  AppError,
  type Bus,
  type BusMessage,
  type Change,
  type Log,
  type PublishOutcome,
  type RecordStore,
} from '@avatar/service-kit'
import type { z } from 'zod'
import { lost, type SimulatedBroker } from './simulated-broker.ts'
import { pullFrom } from './simulated-pull.ts'
import { type StoreOptions, WrongSequence } from './simulated-streams.ts'
import type { SimulatedProcess } from './simulated-time.ts'

/** As in the real bus: how long one try may take, and the pause after it. */
const tryMs = 2_000
const againMs = 250

/** The bus of one process in a simulated world. It keeps the promises of the real one. */
export function simulatedBus(broker: SimulatedBroker, process: SimulatedProcess, log: Log): Bus {
  const { clock } = process

  /** @throws AppError BROKER_UNAVAILABLE when nobody knows what became of it */
  async function ask<T>(work: () => T): Promise<T> {
    const answer = await broker.exchange(process, tryMs, work)
    if (answer === lost) throw new AppError('BROKER_UNAVAILABLE')
    return answer
  }

  async function untilStored(work: () => unknown, timeoutMs = Infinity): Promise<PublishOutcome> {
    const deadlineMs = clock.monotonicMs() + timeoutMs
    for (;;) {
      try {
        const leftMs = Math.max(1, Math.min(tryMs, deadlineMs - clock.monotonicMs()))
        if ((await broker.exchange(process, leftMs, work)) !== lost) return 'stored'
      } catch (error) {
        if (error instanceof WrongSequence) return 'exists'
        throw error
      }
      if (deadlineMs - clock.monotonicMs() <= againMs) throw new AppError('BROKER_UNAVAILABLE')
      await clock.wait(againMs)
    }
  }

  const asMessage = ({
    subject,
    sequence,
    text,
  }: {
    subject: string
    sequence: number
    text: string
  }) => ({ subject, sequence, body: JSON.parse(text) as unknown })

  return {
    log,
    publish: (subject, body, { timeoutMs, ...options } = {}) => {
      const text = JSON.stringify(body)
      return untilStored(
        () => broker.store(broker.streamOf(subject), subject, text, options),
        timeoutMs,
      )
    },
    schedule: (subject, target, atMs, body, options: StoreOptions = {}) => {
      const text = JSON.stringify(body)
      return untilStored(() => broker.schedule(subject, target, atMs, text, options))
    },
    publishCore: (subject, body) => broker.send(process, subject, JSON.stringify(body)),
    async request(subject, body, options) {
      const answer = await broker.request(process, subject, JSON.stringify(body), options)
      return answer === undefined ? undefined : JSON.parse(answer)
    },
    subscribe(pattern, handle, { queue } = {}) {
      return broker.subscribe({
        ...{ process, pattern, queue },
        receive({ subject, text, traceparent, respond }) {
          const message: BusMessage = {
            ...{ subject, traceparent },
            json: () => JSON.parse(text),
            bytes: () => new TextEncoder().encode(text),
            respond: (body) => respond(JSON.stringify(body)),
          }
          void handle(message)
        },
      })
    },
    async ping(withinMs) {
      return (await broker.exchange(process, withinMs, () => true)) !== lost
    },
    storageTrouble: async () => undefined,
    noteSilence: () => undefined,
    records: async (bucket, schema) =>
      simulatedRecords({ broker, process, ask, log }, bucket, schema),
    restoreBucket: async () => undefined,
    async followStream(stream, pattern, { signal, fromSequence = 1, onMessage, onCurrent }) {
      const { until, last } = await ask(() => {
        const pending = broker.stream(stream).from(fromSequence, pattern)
        return { until: pending.at(-1)?.sequence ?? 0, last: broker.stream(stream).lastSequence }
      })
      let isCurrent = until === 0
      if (isCurrent) onCurrent?.()
      const from = isCurrent ? Math.max(fromSequence, last + 1) : fromSequence
      const following = broker.follow(process, stream, {
        ...{ pattern, from },
        hand(messages) {
          for (const message of messages) {
            if (signal.aborted) return
            onMessage(asMessage(message))
            if (isCurrent || message.sequence < until) continue
            isCurrent = true
            onCurrent?.()
          }
        },
      })
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve()
        signal.addEventListener('abort', () => resolve())
      })
      following.stop()
    },
    consumer: async (spec) => pullFrom(broker, process, spec),
    async readStream(stream, pattern, fromSequence, max) {
      const found = await ask(() => broker.stream(stream).from(fromSequence, pattern))
      return found.slice(0, max).map(asMessage)
    },
    async lastMessage(stream, subject) {
      const found = await ask(() => broker.stream(stream).last(subject))
      return found && asMessage(found)
    },
    timeMs: () => ask(() => process.time.nowMs),
    streamState: (stream) =>
      ask(() => ({
        ...{
          messages: broker.stream(stream).messages.size,
          bytes: 0,
          maxMessages: -1,
          maxBytes: -1,
        },
        ...{ refusesWhenFull: true, firstSequence: 1 },
        lastSequence: broker.stream(stream).lastSequence,
      })),
    consumerState: (spec) =>
      ask(() => ({
        pending: 0,
        ackPending: consumerOf(broker, spec).outstanding.size,
        redelivered: 0,
      })),
    ackFloor: () => ask(() => 0),
    resetConsumer: () => notSimulated('resetConsumer'),
    purge: () => notSimulated('purge'),
    closed: () => new Promise(() => undefined),
    stop: async () => undefined,
  }
}

function consumerOf(broker: SimulatedBroker, { name }: Pick<ConsumerSpec, 'name'>) {
  const consumer = broker.consumers.find(({ spec }) => spec.name === name)
  if (!consumer) throw new Error(`there is no consumer ${name}`)
  return consumer
}

function notSimulated(what: string): never {
  throw new Error(`${what} is not simulated`)
}

function simulatedRecords<S extends z.ZodType>(
  deps: {
    broker: SimulatedBroker
    process: SimulatedProcess
    ask: <T>(work: () => T) => Promise<T>
    log: Log
  },
  bucket: BucketSpec,
  schema: S,
): RecordStore<z.output<S>> {
  const { broker, process, ask } = deps
  const stream = `KV_${bucket.name}`
  const prefix = `$KV.${bucket.name}.`
  const parse = (text: string): z.output<S> => schema.parse(JSON.parse(text))

  async function write(key: string, value: unknown, revision: number): Promise<number | undefined> {
    const text = JSON.stringify(value)
    try {
      return await ask(() => broker.store(stream, prefix + key, text, { lastSequence: revision }))
    } catch (error) {
      if (error instanceof WrongSequence) return undefined
      throw error
    }
  }

  return {
    async find(key) {
      const found = await ask(() => broker.stream(stream).last(prefix + key))
      return found && { value: parse(found.text), revision: found.sequence }
    },
    async findMatching(pattern) {
      const [found] = await ask(() => broker.stream(stream).from(1, prefix + pattern))
      return found && { value: parse(found.text), revision: found.sequence }
    },
    create: async (key, value) => (await write(key, value, 0)) ?? 'exists',
    update: async (key, value, revision) => (await write(key, value, revision)) ?? 'conflict',
    async list() {
      return (await ask(() => broker.stream(stream).from(1, '>'))).map(({ text }) => parse(text))
    },
    async *watch(signal, onCurrent = () => undefined, fromRevision = 0, pattern = '>') {
      const until = await ask(() => {
        const known = broker.stream(stream).from(fromRevision, prefix + pattern)
        return known.at(-1)?.sequence ?? 0
      })
      let isCurrent = until === 0
      if (isCurrent) onCurrent()
      const waiting: Change<z.output<S>>[] = []
      let wake: () => void = () => undefined
      const following = broker.follow(process, stream, {
        ...{ pattern: prefix + pattern, from: Math.max(1, fromRevision) },
        hand(messages) {
          for (const { subject, text, sequence } of messages) {
            const key = subject.slice(prefix.length)
            const isUpdate = sequence > until
            waiting.push({ key, value: parse(text), revision: sequence, isUpdate })
          }
          wake()
        },
      })
      signal.addEventListener('abort', () => wake())
      try {
        while (!signal.aborted) {
          const next = waiting.shift()
          if (!next) {
            await new Promise<void>((resolve) => {
              wake = resolve
            })
            continue
          }
          yield next
          if (isCurrent || next.revision < until) continue
          isCurrent = true
          onCurrent()
        }
      } finally {
        following.stop()
      }
    },
  }
}
