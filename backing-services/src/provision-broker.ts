import {
  type BucketSpec,
  buckets,
  type ConsumerSpec,
  consumers,
  inboxPrefix,
  publisherConsumer,
  type StreamSpec,
  streams,
  type Timings,
} from '@avatar/contracts'
import {
  AckPolicy,
  DeliverPolicy,
  DiscardPolicy,
  JetStreamApiError,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { connect, nanos } from '@nats-io/transport-node'

/** The broker's codes for an unknown stream and an unknown consumer. */
const notFoundCodes: readonly number[] = [10_059, 10_014]

/** How long one request to the broker may take. */
const answerWithinMs = 5_000

/** The broker's address and its operator, the only user that may provision it. */
export type OperatorAccess = { url: string; user: string; password: string }

/**
 * Creates or updates every stream, bucket and consumer, and the consumer of each publisher. A repetition
 * changes only what differs.
 *
 * @throws the broker's error when it refuses a request, or a timeout
 */
export async function provisionBroker(
  access: OperatorAccess,
  timings: Timings,
  publishers: readonly string[] = [],
): Promise<void> {
  await asOperator(access, async (manager, kvm) => {
    for (const spec of Object.values(streams)) await ensureStream(manager, spec)
    for (const spec of Object.values(buckets)) await ensureBucket(kvm, spec)
    for (const spec of Object.values(consumers(timings))) await ensureConsumer(manager, spec)
    for (const name of publishers) await ensureConsumer(manager, publisherConsumer(name, timings))
  })
}

/** Creates or updates the consumer by which a publisher reads its notifications. */
export async function provisionPublisher(
  access: OperatorAccess,
  name: string,
  timings: Timings,
): Promise<void> {
  await asOperator(access, (manager) => ensureConsumer(manager, publisherConsumer(name, timings)))
}

async function asOperator(
  { url, user, password }: OperatorAccess,
  act: (manager: JetStreamManager, kvm: Kvm) => Promise<void>,
): Promise<void> {
  const connection = await connect({
    servers: url,
    user,
    pass: password,
    inboxPrefix: inboxPrefix(user),
    timeout: answerWithinMs,
    reconnect: false,
  })
  try {
    const options = { checkAPI: false, timeout: answerWithinMs }
    const manager = await jetstreamManager(connection, options)
    await act(manager, new Kvm(jetstream(connection, options)))
  } finally {
    await connection.close()
  }
}

async function ensureStream(manager: JetStreamManager, spec: StreamSpec) {
  const config: Partial<StreamConfig> & { name: string } = {
    name: spec.name,
    description: spec.why,
    subjects: [...spec.subjects],
    storage: StorageType.File,
    retention: spec.retention === 'workqueue' ? RetentionPolicy.Workqueue : RetentionPolicy.Limits,
    discard: spec.discard === 'new' ? DiscardPolicy.New : DiscardPolicy.Old,
    duplicate_window: nanos(spec.duplicateWindowMs),
    max_age: spec.maxAgeMs ? nanos(spec.maxAgeMs) : 0,
    max_bytes: spec.maxBytes ?? -1,
    max_msg_size: spec.maxMessageBytes ?? -1,
    max_msgs_per_subject: spec.maxMessagesPerSubject ?? -1,
    discard_new_per_subject: spec.maxMessagesPerSubject !== undefined,
    allow_direct: true,
    ...(spec.allowSchedules ? { allow_msg_schedules: true, allow_msg_ttl: true } : {}),
  }
  if (await exists(manager.streams.info(spec.name))) await manager.streams.update(spec.name, config)
  else await manager.streams.add(config)
}

async function ensureBucket(kvm: Kvm, spec: BucketSpec) {
  await kvm.create(spec.name, {
    history: spec.history,
    maxValueSize: spec.maxValueBytes,
    markerTTL: spec.markerTtlMs,
    storage: StorageType.File,
    allow_direct: true,
    description: spec.why,
  })
}

async function ensureConsumer(manager: JetStreamManager, spec: ConsumerSpec) {
  const config = {
    description: `read by ${spec.name}`,
    filter_subjects: [...spec.filters],
    ack_wait: nanos(spec.ackWaitMs),
    max_ack_pending: spec.maxAckPending,
    max_deliver: -1,
    max_waiting: 512,
  }
  if (await exists(manager.consumers.info(spec.stream, spec.name)))
    await manager.consumers.update(spec.stream, spec.name, config)
  else
    await manager.consumers.add(spec.stream, {
      ...config,
      durable_name: spec.name,
      ack_policy: AckPolicy.Explicit,
      deliver_policy: DeliverPolicy.All,
    })
}

async function exists(look: Promise<unknown>): Promise<boolean> {
  try {
    await look
    return true
  } catch (error) {
    if (error instanceof JetStreamApiError && notFoundCodes.includes(error.code)) return false
    throw error
  }
}
