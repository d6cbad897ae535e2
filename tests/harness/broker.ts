import {
  type AnyEvent,
  buckets,
  type EventOf,
  type EventType,
  eventSchemas,
  type JobPosting,
  type JobRecord,
  jobPostingSchema,
  jobRecordSchema,
  streams,
  subjects,
} from '@avatar/contracts'
import {
  AckPolicy,
  DiscardPolicy,
  JetStreamError,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
  type StoredMsg,
} from '@nats-io/jetstream'
import { connect, nanos } from '@nats-io/transport-node'

/** How many messages are read at once. */
const messagesAtOnce = 1_000
/** A consumer that nobody reads is removed after this. */
const counterLastsMs = 2 * 3_600_000

/** The broker as its operator sees it. */
export type Broker = Awaited<ReturnType<typeof connectBroker>>

/** Connects as the operator; the connection outlives restarts of the broker. */
export async function connectBroker(address: string) {
  const { protocol, host, username, password } = new URL(address)
  const connection = await connect({
    servers: `${protocol}//${host}`,
    user: username,
    pass: password,
    inboxPrefix: `_INBOX_${username}`,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 100,
  })
  const manager: JetStreamManager = await jetstreamManager(connection, { checkAPI: false })

  async function messagesOf(stream: string, subject: string): Promise<StoredMsg[]> {
    const found: StoredMsg[] = []
    try {
      for (;;) {
        const before = found.length
        const seq = (found.at(-1)?.seq ?? 0) + 1
        const batch = { seq, next_by_subj: subject, batch: messagesAtOnce }
        for await (const message of await manager.direct.getBatch(stream, batch))
          found.push(message)
        if (found.length - before < messagesAtOnce) return found
      }
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
    return found
  }

  return {
    connection,
    manager,

    /** Every stored event of a job, in the order of the stream. */
    async factsOf(jobId: string): Promise<AnyEvent[]> {
      const stored = await messagesOf(streams.EVENTS.name, subjects.eventsOfJob(jobId))
      return stored.map((message) => {
        const body = message.json<AnyEvent>()
        return eventSchemas[body.type].parse(body) as AnyEvent // The schema of its own type.
      })
    },

    /** Every stored event of a type, in the order of the stream. */
    async factsOfType<T extends EventType>(type: T): Promise<EventOf<T>[]> {
      const stored = await messagesOf(streams.EVENTS.name, subjects.event(type, '*'))
      return stored.map((message) => eventSchemas[type].parse(message.json()) as EventOf<T>) // Its own schema.
    },

    /** A job's record, as the orchestrator wrote it last. */
    async recordOf(jobId: string): Promise<JobRecord | undefined> {
      const stored = await manager.direct
        .getMessage(`KV_${buckets.job.name}`, {
          last_by_subj: `$KV.${buckets.job.name}.*.${jobId}`,
        })
        .catch((error) => {
          if (!isNotFound(error)) throw error
        })
      return stored ? jobRecordSchema.parse(stored.json()) : undefined
    },

    /** What the ledger says about a job. */
    async postingsOf(jobId: string): Promise<JobPosting[]> {
      const stored = await messagesOf(streams.LEDGER.name, `ledger.job.*.*.*.${jobId}`)
      return stored.map((message) => jobPostingSchema.parse(message.json()))
    },

    /** Every stored message of a stream. */
    async textsOf(stream: string): Promise<string[]> {
      return (await messagesOf(stream, '>')).map((message) => message.string())
    },

    /** Submits a job as another service does, whatever the event says. */
    async submitEvent(publisher: string, event: object) {
      await jetstream(connection).publish(
        `intake.${publisher}.job.submitted`,
        JSON.stringify(event),
      )
    },

    /** Stores an event about a job, whatever it says. */
    async storeFact(type: EventType, jobId: string, body: object) {
      await jetstream(connection).publish(subjects.event(type, jobId), JSON.stringify(body))
    },

    /** How many messages a stream holds on subjects that match. */
    async count(stream: keyof typeof streams, subject: string): Promise<number> {
      const { state } = await manager.streams.info(stream, { subjects_filter: subject })
      return Object.values(state.subjects ?? {}).reduce((sum, each) => sum + each, 0)
    },

    /**
     * The same, for whoever looks often: it asks for the backlog of a consumer that nobody reads. The answer to `count`
     * names every subject, and that of thousands of jobs costs the broker milliseconds.
     */
    async counterOf(stream: keyof typeof streams, subject: string): Promise<() => Promise<number>> {
      const { name } = await manager.consumers.add(stream, {
        ack_policy: AckPolicy.None,
        filter_subject: subject,
        inactive_threshold: nanos(counterLastsMs),
      })
      return async () => (await manager.consumers.info(stream, name)).num_pending
    },

    /** Limits a stream to its present size. @returns what restores its configuration */
    async takeNoMore(stream: string): Promise<() => Promise<void>> {
      const { config, state } = await manager.streams.info(stream)
      const full = { max_bytes: Math.max(1, state.bytes), discard: DiscardPolicy.New }
      await manager.streams.update(stream, { ...config, ...full })
      return async () => {
        await manager.streams.update(stream, config)
      }
    },

    close: () => connection.close(),
  }
}

/** A direct get reports "no message" as an error, at once or while it is read. */
function isNotFound(error: unknown): boolean {
  return error instanceof JetStreamError && 'code' in error && error.code === 404
}
