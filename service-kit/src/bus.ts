import { type BucketSpec, type ConsumerSpec, subjects } from '@avatar/contracts'
import { type Consumer, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { connect, type Msg, type NatsConnection } from '@nats-io/transport-node'
import type { z } from 'zod'
import { type StorageTrouble, storageTrouble } from './broker-storage.ts'
import { ensureBucket } from './bus-buckets.ts'
import { type FollowOptions, followStream } from './bus-follow.ts'
import { createMover } from './bus-moving.ts'
import { type PublishOutcome, publishTryMs, untilStored } from './bus-publish.ts'
import { producing, traceHeaders } from './bus-spans.ts'
import { type StreamReader, streamReader } from './bus-streams.ts'
import { type Clock, inTime, systemClock } from './clock.ts'
import { AppError } from './errors.ts'
import { type Log, logFailure } from './log.ts'
import type { Metrics } from './metrics.ts'
import { openRecordStore, type RecordStore } from './record-store.ts'

/** How long a failed publish waits for the broker's word on its storage. */
const healthWithinMs = 500

export type BusOptions = {
  url: string
  user: string
  password: string
  inboxPrefix: string
  log: Log
  clock?: Clock
  metrics?: Metrics
}

export type PublishOptions = {
  /** The same id within the stream's duplicate window is stored once. */
  messageId?: string | undefined
  /** Stored only while the newest message on its subject, however old, has this sequence; 0 for none. */
  lastSequence?: number | undefined
  traceparent?: string | undefined
  /** Gives up after this and throws BROKER_UNAVAILABLE; without it, tries for ever. */
  timeoutMs?: number | undefined
}

/** A message of a core subject. */
export type BusMessage = {
  subject: string
  traceparent: string | undefined
  /** @throws AppError INVALID_MESSAGE when it is not JSON */
  json(): unknown
  bytes(): Uint8Array<ArrayBuffer>
  respond(body: unknown): void
}

/** The connection to the broker. It reconnects for ever, and no publish is given up in silence. */
export type Bus = StreamReader & {
  readonly log: Log
  /** Publishes to a stream until it is stored; `untilStored` says when it gives up. */
  publish(subject: string, body: unknown, options?: PublishOptions): Promise<PublishOutcome>
  /**
   * Stores a message that the broker publishes on `target` at the given time, headers included; one
   * per subject.
   */
  schedule(
    subject: string,
    target: string,
    atMs: number,
    body: unknown,
    options?: Pick<PublishOptions, 'traceparent'>,
  ): Promise<PublishOutcome>
  /** Removes every message of a stream on this subject. */
  purge(stream: string, subject: string): Promise<PublishOutcome>
  /** Publishes on core NATS: whoever subscribes now receives it, and nothing is stored. */
  publishCore(subject: string, body: unknown): void
  /** Asks and waits for one reply; undefined when nobody replied in time. */
  request(
    subject: string,
    body: unknown,
    options: { timeoutMs: number; traceparent?: string },
  ): Promise<unknown>
  /** Receives core messages from now on; with a queue group, one member of it receives each. */
  subscribe(
    subject: string,
    handle: (message: BusMessage) => Promise<void> | void,
    options?: { queue?: string },
  ): { stop(): void }
  /** Whether the broker answers a round trip within the time. */
  ping(withinMs: number): Promise<boolean>
  /** Why the broker stores nothing, in its own words; undefined while it can, or does not answer. */
  storageTrouble(withinMs: number): Promise<StorageTrouble | undefined>
  /** Opens a key-value bucket whose values follow a schema. */
  records<S extends z.ZodType>(bucket: BucketSpec, schema: S): Promise<RecordStore<z.output<S>>>
  /** Creates a bucket in memory again, which the broker loses when it restarts. @throws the broker's error */
  restoreBucket(bucket: BucketSpec): Promise<void>
  /** Reads a stream in order, then follows it; see `followStream`. */
  followStream(stream: string, subject: string, options: FollowOptions): Promise<void>
  /** The durable consumer of a spec; provisioning has created it. */
  consumer(spec: Pick<ConsumerSpec, 'stream' | 'name'>): Promise<Consumer>
  /** A consumer should have told of itself: if much else fails too, the connection moves to another broker. */
  noteSilence(): void
  /** Resolves when the connection is given up for good. The process should then end. */
  closed(): Promise<unknown>
  stop(): Promise<void>
}

/** Connects to the broker, waiting until there is one; afterwards it reconnects for ever. */
export async function connectBus(options: BusOptions): Promise<Bus> {
  const { log, clock = systemClock, metrics } = options
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
    // Otherwise each request makes an Error for its stack, which costs a twentieth of a busy service's time.
    noAsyncTraces: true,
  })
  const listeners = { disconnect: new Set<() => void>(), reconnect: new Set<() => void>() }
  void followStatus(connection, log, listeners)
  const client = jetstream(connection, { timeout: publishTryMs })
  const manager = await jetstreamManager(connection, { checkAPI: false, timeout: publishTryMs })

  const kvm = new Kvm(client)
  const on = (status: keyof typeof listeners) => (call: () => void) => {
    listeners[status].add(call)
    return { stop: () => void listeners[status].delete(call) }
  }
  const source = { client, manager, inboxPrefix: options.inboxPrefix }

  const request: Bus['request'] = async (subject, body, { timeoutMs, traceparent }) => {
    try {
      const reply = await connection.request(subject, JSON.stringify(body), {
        timeout: timeoutMs,
        headers: traceHeaders(traceparent),
      })
      return reply.json()
    } catch (error) {
      log.debug({ err: error, subject }, 'request not answered')
      return undefined
    }
  }

  const storageTroubleWithin = async (withinMs: number) =>
    storageTrouble(await request(subjects.brokerHealth, {}, { timeoutMs: withinMs }))
  const askStorage = () => storageTroubleWithin(healthWithinMs)

  const mover = createMover({ connection, clock, log })
  const stored = (
    subject: string,
    attempt: (tryMs: number) => Promise<unknown>,
    timeoutMs?: number,
  ) =>
    untilStored(attempt, {
      mover,
      ...{ subject, timeoutMs, connection, clock, log, askStorage },
      countRetry: (reason) => metrics?.countPublishRetry(reason),
    })

  return {
    log,
    records: (bucket, schema) =>
      openRecordStore(
        { ...source, kvm, askStorage, mover, clock, onReconnect: on('reconnect') },
        log,
        bucket,
        schema,
      ),
    restoreBucket: (bucket) => ensureBucket(manager, bucket),
    ...streamReader(manager, request),
    request,
    publish: (subject, body, { messageId, lastSequence, traceparent, timeoutMs } = {}) =>
      producing(subject, { messageId, traceparent }, (headers) =>
        stored(
          subject,
          (tryMs) =>
            client.publish(subject, JSON.stringify(body), {
              headers,
              timeout: tryMs,
              ...(messageId ? { msgID: messageId } : {}),
              ...(lastSequence === undefined
                ? {}
                : { expect: { lastSubjectSequence: lastSequence } }),
            }),
          timeoutMs,
        ),
      ),
    schedule: (subject, target, atMs, body, { traceparent } = {}) =>
      producing(subject, { traceparent }, (headers) =>
        stored(subject, (tryMs) =>
          client.publish(subject, JSON.stringify(body), {
            headers,
            timeout: tryMs,
            schedule: { specification: { at: new Date(atMs) }, target },
          }),
        ),
      ),
    purge: (stream, subject) =>
      stored(subject, () => manager.streams.purge(stream, { filter: subject })),
    publishCore: (subject, body) => connection.publish(subject, JSON.stringify(body)),
    subscribe(subject, handle, { queue } = {}) {
      const subscription = connection.subscribe(subject, {
        ...(queue ? { queue } : {}),
        callback: (error, message) => {
          if (error) return log.error({ err: error, subject }, 'subscription refused')
          // Within a promise: an error thrown into the library would end the whole connection.
          const handled = async () => handle(asBusMessage(message))
          handled().catch((failure) =>
            logFailure(log, failure, 'message not handled', { subject: message.subject }),
          )
        },
      })
      return { stop: () => subscription.unsubscribe() }
    },
    async ping(withinMs) {
      try {
        return (await inTime(clock, withinMs, connection.flush())) !== 'late'
      } catch {
        return false
      }
    },
    storageTrouble: storageTroubleWithin,
    followStream: (stream, subject, options) =>
      followStream({ ...source, onDisconnect: on('disconnect') }, stream, subject, options),
    consumer: ({ stream, name }) => client.consumers.get(stream, name),
    noteSilence: mover.noteSilence,
    closed: () => connection.closed(),
    async stop() {
      if (!connection.isClosed()) await connection.drain().catch(() => connection.close())
    },
  }
}

function asBusMessage(message: Msg): BusMessage {
  return {
    subject: message.subject,
    traceparent: message.headers?.get('traceparent') || undefined,
    json: () => parseJson(message.string()),
    // The client receives into buffers of its own, which are never shared memory.
    bytes: () => message.data as Uint8Array<ArrayBuffer>,
    respond: (body) => message.respond(JSON.stringify(body)),
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

async function followStatus(
  connection: NatsConnection,
  log: Log,
  listeners: Record<'disconnect' | 'reconnect', ReadonlySet<() => void>>,
) {
  for await (const status of connection.status()) {
    if (status.type === 'disconnect') {
      log.warn('broker connection lost')
      for (const call of listeners.disconnect) call()
    } else if (status.type === 'reconnect') {
      log.info('broker connection back')
      for (const call of listeners.reconnect) call()
    } else if (status.type === 'error')
      log.error({ err: status.error }, 'broker refused an operation')
  }
}
