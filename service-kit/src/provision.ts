import {
  type BucketSpec,
  buckets,
  type ConsumerSpec,
  consumers,
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
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from '@nats-io/jetstream'
import { nanos } from '@nats-io/transport-node'
import type { Bus } from './bus.ts'

/** Nothing under that name yet: stream 10059, consumer 10014. */
const notFoundCodes: readonly number[] = [10059, 10014]

/**
 * Creates or updates every stream, bucket and consumer. Safe to repeat, and the only place that
 * does it: services have no right to.
 */
export async function provision(bus: Bus, timings: Timings): Promise<void> {
  for (const spec of Object.values(streams)) await ensureStream(bus.manager, spec)
  for (const spec of Object.values(buckets)) await ensureBucket(bus, spec)
  for (const spec of Object.values(consumers(timings))) await ensureConsumer(bus.manager, spec)
}

/** Creates or updates the consumer by which a publisher reads its notifications. */
export async function provisionPublisher(bus: Bus, name: string, timings: Timings): Promise<void> {
  await ensureConsumer(bus.manager, publisherConsumer(name, timings))
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

async function ensureBucket(bus: Bus, spec: BucketSpec) {
  await bus.kvm.create(spec.name, {
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
