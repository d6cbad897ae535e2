import {
  AckPolicy,
  type ConsumerConfig,
  DeliverPolicy,
  type JetStreamClient,
  type JetStreamManager,
  type JsMsg,
  type PushConsumer,
} from '@nats-io/jetstream'
import { createInbox, nanos, nuid } from '@nats-io/transport-node'
import { orUnavailable } from './bus-streams.ts'

/** How often a consumer tells that it lives. The second time that it does not, the reading ends. */
const heartbeatMs = 2_000
/** The broker forgets a consumer to which nobody listens after this. */
const forgottenAfterMs = 60_000

/** What it takes to read a stream in order. */
export type OrderedSource = {
  client: JetStreamClient
  manager: JetStreamManager
  inboxPrefix: string
}

/** One reading: it ends when it is stopped, or cannot go on without leaving something out. */
export type OrderedReading = {
  /** How many messages were there when it began. */
  pending: number
  messages: AsyncIterable<JsMsg>
  stop(): void
  /** Ends it, and leaves nothing at the broker. */
  close(): Promise<void>
}

/**
 * Reads the messages of a stream on a subject in order, from a sequence on or else the last one of each subject.
 *
 * The consumer lives in the memory of one broker, and dies with it. The library's own ordered consumer notices
 * that after a minute, and nobody can have it notice sooner; this one ends after a few seconds, for whoever
 * reads to begin again behind the last message seen.
 *
 * @throws AppError BROKER_UNAVAILABLE
 */
export async function readInOrder(
  { client, manager, inboxPrefix }: OrderedSource,
  stream: string,
  from: { subject: string; sequence?: number | undefined },
): Promise<OrderedReading> {
  const listening = {
    deliver_subject: createInbox(inboxPrefix),
    idle_heartbeat: nanos(heartbeatMs),
  }
  const config: Partial<ConsumerConfig> = {
    ...listening,
    name: `reader_${nuid.next()}`,
    filter_subject: from.subject,
    ...(from.sequence === undefined
      ? { deliver_policy: DeliverPolicy.LastPerSubject }
      : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: from.sequence }),
    ack_policy: AckPolicy.None,
    max_deliver: 1,
    flow_control: true,
    mem_storage: true,
    num_replicas: 1,
    inactive_threshold: nanos(forgottenAfterMs),
  }
  const consumer = await client.consumers.getBoundPushConsumer(listening)
  const messages = await consumer.consume()
  try {
    const { name, num_pending: pending } = await orUnavailable(
      manager.consumers.add(stream, config),
    )
    void endWhenSilent(messages)
    return {
      pending,
      messages: unbroken(messages),
      stop: () => messages.stop(),
      async close() {
        messages.stop()
        await manager.consumers.delete(stream, name).catch(() => false)
      },
    }
  } catch (error) {
    // Whether that is done is told to whoever iterates, and nobody does.
    messages.stop()
    throw error
  }
}

type Messages = Awaited<ReturnType<PushConsumer['consume']>>

async function endWhenSilent(messages: Messages) {
  for await (const { type } of messages.status())
    if (type === 'heartbeats_missed' || type === 'consumer_deleted') messages.stop()
}

async function* unbroken(messages: Messages): AsyncGenerator<JsMsg> {
  let delivered = 0
  for await (const message of messages) {
    delivered++
    if (message.info.deliverySequence !== delivered) return
    yield message
  }
}
