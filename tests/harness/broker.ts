import { type AnyEvent, eventSchemas, streams, subjects } from '@avatar/contracts'
import {
  DiscardPolicy,
  JetStreamError,
  type JetStreamManager,
  jetstreamManager,
} from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'

/** More events than any test publishes about one job. */
const eventsOfOneJob = 1_000

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

  return {
    connection,
    manager,

    /** Every stored event of a job, in the order of the stream. */
    async factsOf(jobId: string): Promise<AnyEvent[]> {
      const stored = await manager.direct
        .getBatch(streams.EVENTS.name, {
          seq: 1,
          next_by_subj: subjects.eventsOfJob(jobId),
          batch: eventsOfOneJob,
        })
        .catch(orNothing)
      const facts: AnyEvent[] = []
      for await (const message of stored) {
        const body = message.json<AnyEvent>()
        facts.push(eventSchemas[body.type].parse(body) as AnyEvent) // The schema of its own type.
      }
      return facts
    },

    /** How many messages a stream holds on subjects that match. */
    async count(stream: keyof typeof streams, subject: string): Promise<number> {
      const { state } = await manager.streams.info(stream, { subjects_filter: subject })
      return Object.values(state.subjects ?? {}).reduce((sum, each) => sum + each, 0)
    },

    /** Limits a stream to its present size. @returns what restores its configuration */
    async takeNoMore(stream: string): Promise<() => Promise<void>> {
      const { config, state } = await manager.streams.info(stream)
      const full = { max_bytes: state.bytes, discard: DiscardPolicy.New }
      await manager.streams.update(stream, { ...config, ...full })
      return async () => {
        await manager.streams.update(stream, config)
      }
    },

    close: () => connection.close(),
  }
}

/** A direct get reports "no message" as an error. */
function orNothing(error: unknown): never[] {
  if (error instanceof JetStreamError && 'code' in error && error.code === 404) return []
  throw error
}
