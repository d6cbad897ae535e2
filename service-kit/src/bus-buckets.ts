import type { BucketSpec } from '@avatar/contracts'
import {
  DiscardPolicy,
  JetStreamApiError,
  type JetStreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  type StreamInfo,
} from '@nats-io/jetstream'
import { nanos } from '@nats-io/transport-node'

/** The broker's code for an unknown stream. */
const streamNotFound = 10_059

/**
 * A bucket as the stream that it is: the client library cannot make one that drops its oldest value when
 * it is full.
 */
export function bucketStream(spec: BucketSpec): Partial<StreamConfig> & { name: string } {
  return {
    name: `KV_${spec.name}`,
    description: spec.why,
    subjects: [`$KV.${spec.name}.>`],
    retention: RetentionPolicy.Limits,
    storage: spec.inMemory ? StorageType.Memory : StorageType.File,
    discard: spec.discard === 'old' ? DiscardPolicy.Old : DiscardPolicy.New,
    max_msgs_per_subject: spec.history,
    max_msg_size: spec.maxValueBytes,
    max_bytes: spec.maxBytes ?? -1,
    max_age: spec.maxAgeMs ? nanos(spec.maxAgeMs) : 0,
    allow_direct: true,
    allow_rollup_hdrs: true,
    deny_delete: true,
    ...(spec.markerTtlMs
      ? { allow_msg_ttl: true, subject_delete_marker_ttl: nanos(spec.markerTtlMs) }
      : {}),
  }
}

/** Creates a bucket unless it is there. @throws the broker's error when it refuses, or a timeout */
export async function ensureBucket(manager: JetStreamManager, spec: BucketSpec): Promise<void> {
  const config = bucketStream(spec)
  if (!(await infoOf(manager, config.name))) await manager.streams.add(config)
}

async function infoOf(manager: JetStreamManager, name: string): Promise<StreamInfo | undefined> {
  try {
    return await manager.streams.info(name)
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === streamNotFound) return undefined
    throw error
  }
}
