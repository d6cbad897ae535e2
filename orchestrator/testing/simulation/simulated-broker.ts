import type { Timings } from '@avatar/contracts'
import type { Random } from '@avatar/service-kit'
import {
  matches,
  type SimulatedConsumer,
  type SimulatedStream,
  type Stored,
  type StoreOptions,
  simulatedConsumers,
  simulatedStreams,
} from './simulated-streams.ts'
import type { SimulatedProcess, SimulatedTime } from './simulated-time.ts'

/** An exchange of which its caller never hears: nobody knows whether it had its effect. */
export const lost = Symbol('lost')

export type CoreMessage = {
  subject: string
  text: string
  traceparent: string | undefined
  respond(text: string): void
}
type Subscription = {
  process: SimulatedProcess
  pattern: string
  queue: string | undefined
  receive: (message: CoreMessage) => void
}

/** A member of a queue group that does not answer is taken for one for so long: by the server's pings. */
const missedAfterMs = 60_000
/** Acknowledgements younger than this may be forgotten by a broker that is killed. */
const unsyncedMs = 5_000

/**
 * What NATS guarantees, and the rest of what it may do: a message takes its time, an exchange may be lost
 * before or after its effect, what was sent into a dead connection may arrive when it is back, and a
 * killed broker may have forgotten what was acknowledged last.
 */
export class SimulatedBroker {
  readonly streams = simulatedStreams()
  readonly consumers: readonly SimulatedConsumer[]
  downUntilMs = 0
  /** How many exchanges in a hundred are lost, each before or after its effect. */
  lossPercent = 0
  /** Told of each message that a stream takes. */
  onStored: (stream: SimulatedStream, message: Stored) => void = () => undefined
  /** How many writes and requests there were. */
  operations = 0
  readonly #time: SimulatedTime
  readonly #random: Random
  readonly #subscriptions = new Set<Subscription>()
  readonly #followers = new Set<{ stream: string; kick: () => void }>()
  readonly #timers = new Map<string, { atMs: number }>()

  constructor(time: SimulatedTime, random: Random, timings: Timings) {
    this.#time = time
    this.#random = random
    this.consumers = simulatedConsumers(timings, this.streams)
  }

  stream(name: string): SimulatedStream {
    const stream = this.streams.get(name)
    if (!stream) throw new Error(`there is no stream ${name}`)
    return stream
  }

  reaches(process: SimulatedProcess): boolean {
    return !process.isCut && this.downUntilMs <= this.#time.nowMs
  }

  goDown(ms: number): void {
    this.downUntilMs = Math.max(this.downUntilMs, this.#time.nowMs + ms)
    for (const consumer of this.consumers) {
      consumer.forgetAcks(this.#time.nowMs - unsyncedMs, () => this.#random(2) === 0)
      this.#time.at(this.downUntilMs, () => this.pump(consumer))
    }
  }

  /** Sends something to the broker, and its answer back. @returns `lost` when the time is over */
  exchange<T>(process: SimulatedProcess, tryMs: number, work: () => T): Promise<T | typeof lost> {
    return new Promise((resolve, reject) => {
      process.after(tryMs, () => resolve(lost))
      this.#arrive(process, () => {
        try {
          const result = work()
          this.#comeBack(process, () => resolve(result))
        } catch (error) {
          this.#comeBack(process, () => reject(error))
        }
      })
    })
  }

  /** A message on its way in happens, whatever becomes of its sender. */
  #arrive(process: SimulatedProcess, work: () => void): void {
    const nowMs = this.#time.nowMs
    const backAtMs = this.reaches(process) ? nowMs : Math.max(process.cutUntilMs, this.downUntilMs)
    // The client keeps what it could not send, and sends it, in its order, when the connection is back.
    const isKept = backAtMs > nowMs
    if (isKept && this.#random(2) === 0) return
    const atMs = Math.max(process.lastArrivalMs.out, backAtMs + this.#hopMs())
    process.lastArrivalMs.out = atMs
    this.#time.at(atMs, () => {
      if (isKept && !process.isAlive) return
      if (this.reaches(process) && !this.#isLost()) work()
    })
  }

  #comeBack(process: SimulatedProcess, work: () => void): void {
    const atMs = Math.max(process.lastArrivalMs.in, this.#time.nowMs + this.#hopMs())
    process.lastArrivalMs.in = atMs
    process.at(atMs, () => {
      if (this.reaches(process) && !this.#isLost()) work()
    })
  }

  #hopMs(): number {
    return this.#random(8) === 0 ? 20 + this.#random(100) : 1 + this.#random(10)
  }

  #isLost(): boolean {
    return this.lossPercent > 0 && this.#random(200) < this.lossPercent
  }

  /** Stores, and tells whoever follows. @throws WrongSequence */
  store(name: string, subject: string, text: string, options: StoreOptions = {}) {
    const stream = this.stream(name)
    const sequence = stream.store(subject, text, options, this.#time.nowMs)
    const message = sequence === undefined ? undefined : stream.messages.get(sequence)
    if (!message) return undefined
    this.operations++
    this.onStored(stream, message)
    for (const follower of this.#followers) if (follower.stream === name) follower.kick()
    for (const consumer of this.consumers) if (consumer.stream === stream) this.pump(consumer)
    return sequence
  }

  /** The stream that takes a subject. */
  streamOf(subject: string): string {
    for (const { name, subjects } of this.streams.values())
      if (subjects.some((pattern) => matches(pattern, subject))) return name
    throw new Error(`no stream takes ${subject}`)
  }

  /** At the given time the broker publishes the message on its target, unless a later timer replaced it. */
  schedule(subject: string, target: string, atMs: number, text: string, options: StoreOptions) {
    const stream = this.streamOf(subject)
    this.store(stream, subject, text, options)
    const timer = { atMs }
    this.#timers.set(subject, timer)
    const fire = () => {
      if (this.#timers.get(subject) !== timer) return
      if (this.downUntilMs > this.#time.nowMs) return this.#time.at(this.downUntilMs, fire)
      this.#timers.delete(subject)
      this.store(stream, target, text, { traceparent: options.traceparent })
    }
    this.#time.at(atMs, fire)
  }

  pump(consumer: SimulatedConsumer): void {
    const nowMs = this.#time.nowMs
    if (this.downUntilMs > nowMs) return
    const againAtMs = consumer.pump(nowMs)
    if (againAtMs !== undefined) this.#time.at(againAtMs, () => this.#pumpIfDue(consumer))
  }

  readonly #pumpedAtMs = new Map<SimulatedConsumer, number>()
  /** Many timers may point at the same moment. */
  #pumpIfDue(consumer: SimulatedConsumer): void {
    if (this.#pumpedAtMs.get(consumer) === this.#time.nowMs) return
    this.#pumpedAtMs.set(consumer, this.#time.nowMs)
    this.pump(consumer)
  }

  /** Hands what a process follows over in order; what it missed comes once it is reached again. */
  follow(
    process: SimulatedProcess,
    name: string,
    options: { pattern: string; from: number; hand: (messages: Stored[]) => void },
  ): { stop(): void } {
    const stream = this.stream(name)
    let cursor = options.from
    let isOnItsWay = false
    const kick = () => {
      if (isOnItsWay || cursor > stream.lastSequence) return
      isOnItsWay = true
      const atMs = Math.max(process.lastArrivalMs.in, this.#time.nowMs + this.#hopMs())
      process.lastArrivalMs.in = atMs
      process.at(atMs, () => {
        isOnItsWay = false
        if (!this.#followers.has(follower)) return
        if (!this.reaches(process)) {
          const backAtMs = Math.max(process.cutUntilMs, this.downUntilMs, this.#time.nowMs)
          return process.at(backAtMs + 250, kick)
        }
        const found: Stored[] = []
        for (; cursor <= stream.lastSequence; cursor++) {
          const message = stream.messages.get(cursor)
          if (message && matches(options.pattern, message.subject)) found.push(message)
        }
        options.hand(found)
      })
    }
    const follower = { stream: name, kick }
    this.#followers.add(follower)
    kick()
    return { stop: () => void this.#followers.delete(follower) }
  }

  subscribe(subscription: Subscription): { stop(): void } {
    this.#subscriptions.add(subscription)
    return { stop: () => void this.#subscriptions.delete(subscription) }
  }

  /** Core NATS: whoever is subscribed when it arrives receives it, of each queue group one. */
  send(process: SimulatedProcess, subject: string, text: string): void {
    this.#arrive(process, () => this.#distribute(subject, text, undefined, () => undefined))
  }

  request(
    process: SimulatedProcess,
    subject: string,
    text: string,
    options: { timeoutMs: number; traceparent?: string | undefined },
  ): Promise<string | undefined> {
    this.operations++
    return new Promise((resolve) => {
      process.after(options.timeoutMs, () => resolve(undefined))
      this.#arrive(process, () => {
        const respond = (from: SimulatedProcess, answer: string) =>
          this.#arrive(from, () => this.#comeBack(process, () => resolve(answer)))
        const receivers = this.#distribute(subject, text, options.traceparent, respond)
        // Nobody listens, and the broker says so.
        if (receivers === 0) this.#comeBack(process, () => resolve(undefined))
      })
    })
  }

  #distribute(
    subject: string,
    text: string,
    traceparent: string | undefined,
    respond: (from: SimulatedProcess, answer: string) => void,
  ): number {
    const members = new Map<string, Subscription[]>()
    for (const each of this.#subscriptions) {
      const { process, pattern, queue } = each
      if (!process.isAlive) this.#subscriptions.delete(each)
      else if (matches(pattern, subject) && !this.#isMissed(process)) {
        const group = queue ?? `${members.size}`
        members.set(group, [...(members.get(group) ?? []), each])
      }
    }
    for (const group of members.values()) {
      const one = group[this.#random(group.length)]
      if (!one) continue
      this.#comeBack(one.process, () =>
        one.receive({
          subject,
          text,
          traceparent,
          respond: (answer) => respond(one.process, answer),
        }),
      )
    }
    return members.size
  }

  /** Whether the broker has noticed that a process does not answer. */
  #isMissed(process: SimulatedProcess): boolean {
    const untilMs = Math.max(process.cutUntilMs, process.pausedUntilMs)
    return untilMs - this.#time.nowMs > missedAfterMs
  }

  /** A process that was killed is gone at once: its socket is closed. */
  forget(process: SimulatedProcess): void {
    for (const each of this.#subscriptions)
      if (each.process === process) this.#subscriptions.delete(each)
  }
}
