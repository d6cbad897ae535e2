import {
  buckets,
  type ConsumerSpec,
  consumers,
  type StreamSpec,
  streams,
  type Timings,
} from '@avatar/contracts'

/** A message as a stream keeps it. */
export type Stored = {
  sequence: number
  subject: string
  text: string
  traceparent: string | undefined
  atMs: number
}

/** What a publish asks of the stream. */
export type StoreOptions = {
  messageId?: string | undefined
  lastSequence?: number | undefined
  traceparent?: string | undefined
}

/** The broker refuses a publish whose subject has moved on. */
export class WrongSequence extends Error {
  override readonly name = 'WrongSequence'
}

/** Whether a subject is one of those that a pattern means. */
export function matches(pattern: string, subject: string): boolean {
  if (pattern === subject) return true
  const [wanted, given] = [pattern.split('.'), subject.split('.')]
  for (const [at, token] of wanted.entries()) {
    if (token === '>') return given.length > at
    if (given[at] === undefined || (token !== '*' && token !== given[at])) return false
  }
  return wanted.length === given.length
}

/** One stream: what it stores, refuses, and takes for a repetition. */
export class SimulatedStream {
  readonly name: string
  readonly subjects: readonly string[]
  readonly messages = new Map<number, Stored>()
  lastSequence = 0
  readonly #last = new Map<string, number>()
  readonly #ids = new Map<string, { sequence: number; atMs: number }>()
  readonly #keepsOne: boolean
  readonly #windowMs: number

  constructor(spec: {
    name: string
    subjects: readonly string[]
    keepsOne: boolean
    windowMs: number
  }) {
    this.name = spec.name
    this.subjects = spec.subjects
    this.#keepsOne = spec.keepsOne
    this.#windowMs = spec.windowMs
  }

  /** @returns the new sequence; undefined for a repetition. @throws WrongSequence */
  store(subject: string, text: string, options: StoreOptions, nowMs: number): number | undefined {
    const { messageId, lastSequence } = options
    const known = messageId === undefined ? undefined : this.#ids.get(messageId)
    if (known && nowMs - known.atMs < this.#windowMs) return undefined
    const before = this.#last.get(subject)
    if (lastSequence !== undefined && lastSequence !== (before ?? 0)) throw new WrongSequence()
    const sequence = ++this.lastSequence
    if (this.#keepsOne && before !== undefined) this.messages.delete(before)
    const { traceparent } = options
    this.messages.set(sequence, { sequence, subject, text, traceparent, atMs: nowMs })
    this.#last.set(subject, sequence)
    if (messageId !== undefined) this.#ids.set(messageId, { sequence, atMs: nowMs })
    return sequence
  }

  last(subject: string): Stored | undefined {
    const sequence = this.#last.get(subject)
    return sequence === undefined ? undefined : this.messages.get(sequence)
  }

  from(sequence: number, pattern: string): Stored[] {
    return [...this.messages.values()].filter(
      (message) => message.sequence >= sequence && matches(pattern, message.subject),
    )
  }
}

/** Every stream and bucket of the layout, as provisioning makes them. */
export function simulatedStreams(): Map<string, SimulatedStream> {
  const specs: readonly StreamSpec[] = Object.values(streams)
  return new Map([
    ...specs.map(({ name, subjects, maxMessagesPerSubject, duplicateWindowMs: windowMs }) => {
      const spec = { name, subjects, keepsOne: maxMessagesPerSubject === 1, windowMs }
      return [name, new SimulatedStream(spec)] as const
    }),
    ...Object.values(buckets).map((bucket) => {
      const name = `KV_${bucket.name}`
      const subjects = [`$KV.${bucket.name}.>`]
      return [
        name,
        new SimulatedStream({ name, subjects, keepsOne: true, windowMs: 120_000 }),
      ] as const
    }),
  ])
}

type Outstanding = { dueAtMs: number; deliveries: number }
/** Who pulls from a consumer. @returns whether it takes another message now */
export type Puller = { offer(message: Stored, deliveryCount: number): boolean }

/** How one durable consumer delivers: each message until it is acknowledged, to whoever pulls. */
export class SimulatedConsumer {
  readonly spec: ConsumerSpec
  readonly stream: SimulatedStream
  readonly pullers = new Set<Puller>()
  readonly outstanding = new Map<number, Outstanding>()
  /** What was acknowledged, and when: a broker that crashes forgets the latest. */
  readonly acked = new Map<number, number>()
  #next = 1
  #turn = 0

  constructor(spec: ConsumerSpec, stream: SimulatedStream) {
    this.spec = spec
    this.stream = stream
  }

  /** Delivers what is due. @returns when to look again; undefined when only a new message changes anything */
  pump(nowMs: number): number | undefined {
    for (; this.#next <= this.stream.lastSequence; this.#next++) {
      const message = this.stream.messages.get(this.#next)
      if (message && this.spec.filters.some((filter) => matches(filter, message.subject)))
        this.outstanding.set(this.#next, { dueAtMs: nowMs, deliveries: 0 })
    }
    let againAtMs: number | undefined
    for (const [sequence, state] of this.outstanding) {
      const message = this.stream.messages.get(sequence)
      if (!message) this.outstanding.delete(sequence)
      else if (state.dueAtMs <= nowMs && this.#offer(message, state.deliveries + 1)) {
        state.deliveries++
        state.dueAtMs = nowMs + this.spec.ackWaitMs
      }
      againAtMs = Math.min(againAtMs ?? Infinity, Math.max(state.dueAtMs, nowMs + 250))
    }
    return againAtMs
  }

  #offer(message: Stored, deliveryCount: number): boolean {
    const pullers = [...this.pullers]
    for (let tries = 0; tries < pullers.length; tries++) {
      const puller = pullers[this.#turn++ % pullers.length]
      if (puller?.offer(message, deliveryCount)) return true
    }
    return false
  }

  ack(sequence: number, nowMs: number): void {
    if (this.outstanding.delete(sequence)) this.acked.set(sequence, nowMs)
  }

  /** Redelivers it after so long, or believes for so long that it is being worked on. */
  put(sequence: number, nowMs: number, ms = this.spec.ackWaitMs): void {
    const state = this.outstanding.get(sequence)
    if (state) state.dueAtMs = nowMs + ms
  }

  /** Forgets acknowledgements of the last moments, as a broker may that is killed. */
  forgetAcks(sinceMs: number, doesForget: () => boolean): void {
    for (const [sequence, atMs] of this.acked) {
      if (atMs >= sinceMs && doesForget()) {
        this.outstanding.set(sequence, { dueAtMs: 0, deliveries: 1 })
        this.acked.delete(sequence)
      }
    }
  }
}

/** Every durable consumer of the layout. */
export function simulatedConsumers(
  timings: Timings,
  all: ReadonlyMap<string, SimulatedStream>,
): SimulatedConsumer[] {
  return Object.values(consumers(timings)).map((spec) => {
    const stream = all.get(spec.stream)
    if (!stream) throw new Error(`there is no stream ${spec.stream}`)
    return new SimulatedConsumer(spec, stream)
  })
}
