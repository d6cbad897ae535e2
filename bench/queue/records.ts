import { randomUUID } from 'node:crypto'
import { buckets, type JobRecord, jobKey } from '@avatar/contracts'
import type { System } from '../../tests/harness/index.ts'

type Broker = Awaited<ReturnType<System['broker']>>

/** So many records are on their way to the broker at the same time. */
const writesAtOnce = 256

/** The share of the jobs that belongs to the owner of `like`; the others are spread evenly. */
const shareOfFirst = 0.9

/**
 * Queues jobs as the operator can: by writing their records, without a submission each. They are copies of
 * `like`, whose inputs they share, of `owners` owners in turns. One in eleven has high priority.
 *
 * @returns the ids of those that belong to the owner of `like`
 */
export async function queueDirectly(
  broker: Broker,
  like: JobRecord,
  count: number,
  owners: number,
): Promise<string[]> {
  const client = broker.manager.jetstream()
  const own: string[] = []
  const startMs = Date.now() - count
  let at = 0
  const writer = async () => {
    while (at < count) {
      const job = copyOf(like, at, startMs + at, owners)
      at++
      if (job.owner === like.owner) own.push(job.jobId)
      await client.publish(
        `$KV.${buckets.job.name}.${jobKey(job.owner, job.jobId)}`,
        JSON.stringify(job),
      )
    }
  }
  await Promise.all(Array.from({ length: writesAtOnce }, writer))
  return own
}

function copyOf(like: JobRecord, at: number, createdAtMs: number, owners: number): JobRecord {
  const { priority: _none, ...rest } = like
  return {
    ...rest,
    jobId: randomUUID(),
    owner: ownerOf(like.owner, at, owners),
    state: 'queued',
    epoch: 0,
    nonce: at.toString(16).padStart(16, '0'),
    createdAtMs,
    queuedAtMs: createdAtMs,
    estimatedSeconds: 4 + (at % 17) * 1.3,
    ...(at % 11 === 0 ? { priority: 'high' } : {}),
  }
}

function ownerOf(first: string, at: number, owners: number): string {
  if (owners === 1 || at % 100 < 100 * shareOfFirst) return first
  return `o_${String(at % (owners - 1)).padStart(12, '0')}`
}
