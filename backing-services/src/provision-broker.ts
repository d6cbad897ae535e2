import { setTimeout } from 'node:timers/promises'
import {
  buckets,
  type ConsumerSpec,
  consumers,
  publisherConsumer,
  retiredStreams,
  type SchemaRecord,
  type StreamSpec,
  schemaKey,
  schemaNumber,
  schemaRecordSchema,
  streams,
  type Timings,
} from '@avatar/contracts'
import { bucketStream } from '@avatar/service-kit'
import {
  AckPolicy,
  type ConsumerConfig,
  DeliverPolicy,
  DiscardPolicy,
  JetStreamApiError,
  type JetStreamManager,
  jetstream,
  RetentionPolicy,
  StorageType,
} from '@nats-io/jetstream'
import { type NatsConnection, nanos } from '@nats-io/transport-node'
import { asBrokerOperator, type OperatorAccess } from './operator-connection.ts'
import {
  type Change,
  compareConsumer,
  compareStream,
  type WantedStream,
  withoutShrinking,
} from './provision-plan.ts'

/** The broker's codes for an unknown stream, an unknown consumer and an unknown message. */
const notFoundCodes: readonly number[] = [10_059, 10_014, 10_037]

/** "No suitable peers for placement" and "JetStream system temporarily unavailable". */
const gatheringCodes: readonly number[] = [10_005, 10_008]
const peersWithinMs = 30_000
const peersRetryMs = 500

export type ProvisionOptions = {
  publishers?: readonly string[]
  /** Copies of each stream; more than one needs a cluster. */
  replicas?: number
  /**
   * What to do with a stream that is wider than ours: `keep` it as it is, `shrink` it, which deletes what no
   * longer fits, or `refuse` to change anything.
   */
  wider?: 'keep' | 'shrink' | 'refuse'
  /** Noted beside the number of the layout. */
  release?: string
  /** What `planProvisioning` said a moment ago; without it the plan is made again. */
  plan?: readonly Change[]
}

/** The plan asks for what would lose data, or what the broker cannot do; nothing was changed. */
export class ProvisionRefused extends Error {
  override readonly name = 'ProvisionRefused'
  readonly changes: readonly Change[]

  constructor(changes: readonly Change[]) {
    super(`${changes.length} of the changes cannot be made without losing data, or not at all`)
    this.changes = changes
  }
}

/**
 * Creates or updates every stream, bucket and consumer, and the consumer of each publisher, and deletes
 * what earlier versions had and this one does not. A repetition changes only what differs. At the end it
 * notes the number of the layout, unless a later release has noted a higher one.
 *
 * @returns what it did
 * @throws ProvisionRefused before anything is changed; the broker's error when it refuses a request, or a
 * timeout
 */
export async function provisionBroker(
  access: OperatorAccess,
  timings: Timings,
  options: ProvisionOptions = {},
): Promise<readonly Change[]> {
  const { publishers = [], replicas = 1, wider = 'keep', release = 'unknown' } = options
  return asBrokerOperator(access, async (manager, connection) => {
    const layout = layoutOf(timings, publishers, replicas)
    const plan = options.plan ?? (await planOf(manager, layout))
    const refused = refusedOf(plan, wider)
    if (refused.length > 0) throw new ProvisionRefused(refused)
    for (const wanted of layout.streams) await ensureStream(manager, wanted, wider)
    for (const { stream, config } of layout.consumers) await ensureConsumer(manager, stream, config)
    for (const name of retiredStreams) await ifExists(manager.streams.delete(name))
    await noteSchema(manager, connection, { number: schemaNumber, release })
    return wider === 'keep' ? plan.filter(({ kind }) => kind !== 'shrink') : plan
  })
}

/** What of a plan is not done: what the broker cannot do, and what would lose messages without leave. */
export function refusedOf(
  plan: readonly Change[],
  wider: NonNullable<ProvisionOptions['wider']>,
): readonly Change[] {
  return plan.filter(
    ({ kind }) => kind === 'impossible' || (kind === 'shrink' && wider === 'refuse'),
  )
}

/** What `provisionBroker` would do, without doing it. */
export async function planProvisioning(
  access: OperatorAccess,
  timings: Timings,
  { publishers = [], replicas = 1 }: ProvisionOptions = {},
): Promise<readonly Change[]> {
  return asBrokerOperator(access, (manager) =>
    planOf(manager, layoutOf(timings, publishers, replicas)),
  )
}

/** Creates or updates the consumer by which a publisher reads its notifications. */
export async function provisionPublisher(
  access: OperatorAccess,
  name: string,
  timings: Timings,
): Promise<void> {
  const { stream, config } = consumerOf(publisherConsumer(name, timings))
  await asBrokerOperator(access, (manager) => ensureConsumer(manager, stream, config))
}

/** Deletes the consumer of a publisher that is no more. */
export async function removePublisher(
  access: OperatorAccess,
  name: string,
  timings: Timings,
): Promise<void> {
  const { stream, config } = consumerOf(publisherConsumer(name, timings))
  await asBrokerOperator(access, (manager) =>
    ifExists(manager.consumers.delete(stream, config.durable_name)),
  )
}

type WantedConsumer = { stream: string; config: Partial<ConsumerConfig> & { durable_name: string } }
type Layout = { streams: readonly WantedStream[]; consumers: readonly WantedConsumer[] }

/** Everything that the broker shall hold. */
function layoutOf(timings: Timings, publishers: readonly string[], replicas: number): Layout {
  const all = [
    ...Object.values(streams).map(streamOf),
    ...Object.values(buckets).map((spec) => bucketStream(spec)),
  ]
  const readers = [
    ...Object.values(consumers(timings)),
    ...publishers.map((name) => publisherConsumer(name, timings)),
  ]
  return {
    streams: all.map((config) => ({ ...config, num_replicas: replicas })),
    consumers: readers.map(consumerOf),
  }
}

async function planOf(manager: JetStreamManager, layout: Layout): Promise<Change[]> {
  const plan: Change[] = []
  for (const wanted of layout.streams) {
    const existing = await ifExists(manager.streams.info(wanted.name))
    plan.push(...compareStream(existing?.config, wanted))
  }
  for (const { stream, config } of layout.consumers) {
    const existing = await ifExists(manager.consumers.info(stream, config.durable_name))
    plan.push(...compareConsumer(existing?.config, config, stream))
  }
  for (const name of retiredStreams)
    if (await ifExists(manager.streams.info(name)))
      plan.push({ kind: 'delete', what: `stream ${name}`, fields: [] })
  return plan
}

function streamOf(spec: StreamSpec): WantedStream {
  return {
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
    // The broker refuses it beside a discard of the oldest.
    discard_new_per_subject: spec.discard === 'new' && spec.maxMessagesPerSubject !== undefined,
    allow_direct: true,
    ...(spec.allowSchedules ? { allow_msg_schedules: true, allow_msg_ttl: true } : {}),
  }
}

function consumerOf(spec: ConsumerSpec): WantedConsumer {
  return {
    stream: spec.stream,
    config: {
      durable_name: spec.name,
      description: `read by ${spec.name}`,
      filter_subjects: [...spec.filters],
      ack_wait: nanos(spec.ackWaitMs),
      max_ack_pending: spec.maxAckPending,
      max_deliver: -1,
      max_waiting: 512,
      ack_policy: AckPolicy.Explicit,
      deliver_policy: DeliverPolicy.All,
    },
  }
}

async function ensureStream(
  manager: JetStreamManager,
  wanted: WantedStream,
  wider: ProvisionOptions['wider'],
) {
  const existing = (await ifExists(manager.streams.info(wanted.name)))?.config
  if (!existing) return whilePeersGather(() => manager.streams.add(wanted))
  const target = wider === 'shrink' ? wanted : withoutShrinking(existing, wanted)
  if (compareStream(existing, target).length === 0) return
  return manager.streams.update(wanted.name, { ...existing, ...target })
}

async function ensureConsumer(
  manager: JetStreamManager,
  stream: string,
  config: WantedConsumer['config'],
) {
  const existing = (await ifExists(manager.consumers.info(stream, config.durable_name)))?.config
  if (!existing) await manager.consumers.add(stream, config)
  else if (compareConsumer(existing, config, stream).length > 0)
    await manager.consumers.update(stream, config.durable_name, config)
}

/** Never lowers the number: after a rollback the broker still holds the later layout. */
async function noteSchema(
  manager: JetStreamManager,
  connection: NatsConnection,
  ours: SchemaRecord,
) {
  const subject = `$KV.${buckets.meta.name}.${schemaKey}`
  const stored = await ifExists(
    manager.streams.getMessage(`KV_${buckets.meta.name}`, { last_by_subj: subject }),
  )
  const noted = stored && schemaRecordSchema.safeParse(stored.json()).data
  if (noted && (noted.number > ours.number || JSON.stringify(noted) === JSON.stringify(ours)))
    return
  await jetstream(connection).publish(subject, JSON.stringify(ours))
}

/**
 * A cluster that has just started answers before its leader has heard of enough brokers to hold every copy.
 *
 * @throws JetStreamApiError when it still has not after `peersWithinMs`: there are too few brokers
 */
async function whilePeersGather<T>(request: () => Promise<T>): Promise<T> {
  const deadlineMs = performance.now() + peersWithinMs
  for (;;) {
    try {
      return await request()
    } catch (error) {
      const isEarly = error instanceof JetStreamApiError && gatheringCodes.includes(error.code)
      if (!isEarly || performance.now() > deadlineMs) throw error
      await setTimeout(peersRetryMs)
    }
  }
}

/** What a look-up answers, or undefined for what the broker does not have. */
async function ifExists<T>(look: Promise<T>): Promise<T | undefined> {
  try {
    return await look
  } catch (error) {
    if (error instanceof JetStreamApiError && notFoundCodes.includes(error.code)) return undefined
    throw error
  }
}
