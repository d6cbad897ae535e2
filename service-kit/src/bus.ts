import type { ConsumerSpec } from '@avatar/contracts'
import {
  JetStreamApiError,
  type JetStreamClient,
  JetStreamError,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
} from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { connect, headers, type Msg, type NatsConnection } from '@nats-io/transport-node'
import { type Clock, systemClock } from './clock.ts'
import { AppError } from './errors.ts'
import type { Log } from './log.ts'

export type BusOptions = {
  url: string
  user: string
  password: string
  inboxPrefix: string
  log: Log
  clock?: Clock
}

export type PublishOptions = {
  /** The same id within the stream's window is stored once. */
  messageId?: string
  /** Stored only while the stream holds nothing on its subject, however long ago that came. */
  isFirstOfSubject?: boolean
  traceparent?: string
  /** Gives up after this and throws BROKER_UNAVAILABLE; without it, tries for ever. */
  timeoutMs?: number
}

/** What the broker did with a publish that it may refuse. */
export type PublishOutcome = 'stored' | 'exists'

/** A message stored in a stream, read directly. */
export type StoredMessage = { subject: string; sequence: number; body: unknown }

/** NATS error codes, from the server's errors.json. */
const storeFailed = 10077
const wrongLastSequence = 10071

/** How long one try of a publish may take before the next is made with the same id. */
const publishTryMs = 2_000
const publishAgainMs = 250

/** The connection to the broker: it reconnects for ever and never gives up a publish silently. */
export type Bus = Awaited<ReturnType<typeof connectBus>>

/**
 * Connects to the broker, waiting until there is one. Afterwards it reconnects for ever; `closed`
 * resolves only when the connection is given up for good, and then the process should end.
 */
export async function connectBus(options: BusOptions) {
  const { log, clock = systemClock } = options
  const connection = await connect({
    servers: options.url,
    user: options.user,
    pass: options.password,
    name: options.user,
    inboxPrefix: options.inboxPrefix,
    waitOnFirstConnect: true,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    reconnectJitter: 250,
    pingInterval: 20_000,
    maxPingOut: 2,
    ignoreAuthErrorAbort: true,
  })
  void logStatus(connection, log)
  const client: JetStreamClient = jetstream(connection, { timeout: publishTryMs })
  const manager: JetStreamManager = await jetstreamManager(connection, {
    checkAPI: false,
    timeout: publishTryMs,
  })

  /** Publishes to a stream until it is stored; see `PublishOptions` for when it gives up. */
  async function publish(
    subject: string,
    body: unknown,
    { messageId, isFirstOfSubject = false, traceparent, timeoutMs }: PublishOptions = {},
  ): Promise<PublishOutcome> {
    const message = headers()
    if (traceparent) message.set('traceparent', traceparent)
    return untilStored(timeoutMs, (tryMs) =>
      client.publish(subject, JSON.stringify(body), {
        headers: message,
        timeout: tryMs,
        ...(messageId ? { msgID: messageId } : {}),
        ...(isFirstOfSubject ? { expect: { lastSubjectSequence: 0 } } : {}),
      }),
    )
  }

  /**
   * Stores a message that the broker will publish on `target` at the given time, headers included; one
   * per subject.
   */
  async function schedule(
    subject: string,
    target: string,
    atMs: number,
    body: unknown,
    { traceparent }: Pick<PublishOptions, 'traceparent'> = {},
  ) {
    const message = headers()
    if (traceparent) message.set('traceparent', traceparent)
    return untilStored(undefined, (tryMs) =>
      client.publish(subject, JSON.stringify(body), {
        headers: message,
        timeout: tryMs,
        schedule: { specification: { at: new Date(atMs) }, target },
      }),
    )
  }

  async function untilStored(
    timeoutMs: number | undefined,
    attempt: (tryMs: number) => Promise<unknown>,
  ): Promise<PublishOutcome> {
    const deadline = timeoutMs === undefined ? Infinity : clock.monotonicMs() + timeoutMs
    for (;;) {
      const left = deadline - clock.monotonicMs()
      try {
        await attempt(Math.max(1, Math.min(publishTryMs, left)))
        return 'stored'
      } catch (error) {
        if (isPerSubjectLimit(error) || isWrongRevision(error)) return 'exists'
        if (connection.isClosed() || deadline - clock.monotonicMs() <= publishAgainMs)
          throw new AppError('BROKER_UNAVAILABLE', { cause: error })
        await clock.wait(publishAgainMs)
      }
    }
  }

  /** Asks and waits for one answer; undefined where nobody answered in time. */
  async function request(
    subject: string,
    body: unknown,
    { timeoutMs, traceparent }: { timeoutMs: number; traceparent?: string },
  ): Promise<unknown> {
    const message = headers()
    if (traceparent) message.set('traceparent', traceparent)
    try {
      const reply = await connection.request(subject, JSON.stringify(body), {
        timeout: timeoutMs,
        headers: message,
      })
      return reply.json()
    } catch (error) {
      log.debug({ err: error, subject }, 'request not answered')
      return undefined
    }
  }

  /** Says something to whoever listens now; nothing is stored. */
  function announce(subject: string, body: unknown) {
    connection.publish(subject, JSON.stringify(body))
  }

  /** Hears what is said from now on; with a queue group, one of the group hears it. */
  function listen(
    subject: string,
    hear: (message: BusMessage) => Promise<void> | void,
    { queue }: { queue?: string } = {},
  ): { stop(): void } {
    const subscription = connection.subscribe(subject, {
      ...(queue ? { queue } : {}),
      callback: (error, message) => {
        if (error) return log.error({ err: error, subject }, 'subscription refused')
        // Within a promise: thrown into the library, an error would end the whole connection.
        const heard = async () => hear(asBusMessage(message))
        heard().catch((failure) =>
          log.error({ err: failure, subject: message.subject }, 'listener failed'),
        )
      },
    })
    return { stop: () => subscription.unsubscribe() }
  }

  /** A round trip to the broker itself: whether it hears us within the time. */
  async function answers(withinMs: number): Promise<boolean> {
    const late = new AbortController()
    try {
      return await Promise.race([
        connection.flush().then(() => true),
        clock.wait(withinMs, late.signal).then(() => false),
      ])
    } catch {
      return false
    } finally {
      late.abort()
    }
  }

  /** Messages of a stream on a subject (wildcards allowed) from a sequence on, oldest first. */
  async function readFrom(
    stream: string,
    subject: string,
    sequence: number,
    max: number,
  ): Promise<StoredMessage[]> {
    try {
      const found = await manager.direct.getBatch(stream, {
        seq: sequence,
        next_by_subj: subject,
        batch: max,
      })
      const messages: StoredMessage[] = []
      for await (const message of found)
        messages.push({ subject: message.subject, sequence: message.seq, body: message.json() })
      return messages
    } catch (error) {
      if (isNotFound(error)) return []
      throw new AppError('BROKER_UNAVAILABLE', { cause: error })
    }
  }

  /** Whether a stream holds a message on exactly this subject, after a sequence if one is given. */
  async function holds(stream: string, subject: string, after = 0): Promise<boolean> {
    try {
      const message = await manager.direct.getMessage(stream, { last_by_subj: subject })
      return message !== null && message.seq > after
    } catch (error) {
      throw new AppError('BROKER_UNAVAILABLE', { cause: error })
    }
  }

  /**
   * Up to where a work queue's consumer has settled everything: a message at or before this sequence
   * is never given out again, whether or not the stream still has it.
   */
  async function settledUpTo({ stream, name }: Pick<ConsumerSpec, 'stream' | 'name'>) {
    try {
      return (await manager.consumers.info(stream, name)).ack_floor.stream_seq
    } catch (error) {
      throw new AppError('BROKER_UNAVAILABLE', { cause: error })
    }
  }

  /** The sequence of the oldest message of a stream; undefined when it is empty. */
  async function oldestOf(stream: string): Promise<number | undefined> {
    try {
      const { state } = await manager.streams.info(stream)
      return state.messages === 0 ? undefined : state.first_seq
    } catch (error) {
      throw new AppError('BROKER_UNAVAILABLE', { cause: error })
    }
  }

  /** Has a consumer give out everything from a sequence on, again. Newer than the client library. */
  async function windBack({ stream, name }: Pick<ConsumerSpec, 'stream' | 'name'>, seq: number) {
    const subject = `$JS.API.CONSUMER.RESET.${stream}.${name}`
    const answer = await request(subject, { seq }, { timeoutMs: publishTryMs })
    if (answer === undefined || (answer as { error?: unknown }).error !== undefined)
      throw new AppError('BROKER_UNAVAILABLE', { details: { subject } })
  }

  /** Removes every message of a stream on this subject. */
  async function purge(stream: string, subject: string) {
    return untilStored(undefined, () => manager.streams.purge(stream, { filter: subject }))
  }

  return {
    log,
    connection,
    client,
    manager,
    kvm: new Kvm(client),
    publish,
    schedule,
    request,
    announce,
    listen,
    answers,
    readFrom,
    holds,
    settledUpTo,
    oldestOf,
    windBack,
    purge,
    /** The durable consumer of a spec; it must have been provisioned. */
    consumer: (spec: Pick<ConsumerSpec, 'stream' | 'name'>) =>
      client.consumers.get(spec.stream, spec.name),
    closed: () => connection.closed(),
    isConnected: () => !connection.isClosed(),
    async stop() {
      if (!connection.isClosed()) await connection.drain().catch(() => connection.close())
    },
  }
}

/** A message heard on a core subject. */
export type BusMessage = {
  subject: string
  traceparent: string | undefined
  /** @throws AppError INVALID_MESSAGE when it is not JSON */
  json(): unknown
  reply(body: unknown): void
}

function asBusMessage(message: Msg): BusMessage {
  return {
    subject: message.subject,
    traceparent: message.headers?.get('traceparent') || undefined,
    json: () => parseJson(message.string()),
    reply: (body) => message.respond(JSON.stringify(body)),
  }
}

/** @throws AppError INVALID_MESSAGE when the text is not JSON */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new AppError('INVALID_MESSAGE', { cause: error })
  }
}

/** 10077 is also "maximum bytes exceeded": the server gives the two apart only by their text. */
function isPerSubjectLimit(error: unknown): boolean {
  return (
    error instanceof JetStreamApiError &&
    error.code === storeFailed &&
    error.message.includes('per subject')
  )
}

/** A compare-and-set lost: the subject has moved on. */
export function isWrongRevision(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === wrongLastSequence
}

/** A direct get that found nothing: the class with the code is not exported by the library. */
function isNotFound(error: unknown): boolean {
  return error instanceof JetStreamError && 'code' in error && error.code === 404
}

async function logStatus(connection: NatsConnection, log: Log) {
  for await (const status of connection.status()) {
    if (status.type === 'disconnect') log.warn('broker away')
    else if (status.type === 'reconnect') log.info('broker back')
    else if (status.type === 'error') log.error({ err: status.error }, 'broker refused')
  }
}
