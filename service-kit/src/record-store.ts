import type { BucketSpec } from '@avatar/contracts'
import { headers } from '@nats-io/transport-node'
import type { z } from 'zod'
import { type Bus, isWrongRevision } from './bus.ts'
import { AppError } from './errors.ts'

/** A value and the revision to change it from. */
export type Versioned<T> = { value: T; revision: number }

/** One change seen by a watch; `value` is undefined when the key went away. */
export type Change<T> = { key: string; value: T | undefined; revision: number; isUpdate: boolean }

/** Values of one kind in a key-value bucket, changed by compare-and-set only. */
export type RecordStore<T> = {
  /** @throws AppError BROKER_UNAVAILABLE */
  find(key: string): Promise<Versioned<T> | undefined>
  /** The first present value whose key matches a pattern (`*` for one token). */
  findMatching(pattern: string): Promise<Versioned<T> | undefined>
  /** The new revision, or `exists`. */
  create(key: string, value: T): Promise<number | 'exists'>
  /** The new revision, or `conflict` when the record has moved on. */
  update(key: string, value: T, revision: number, ttlMs?: number): Promise<number | 'conflict'>
  /** Every present value, in no order; for buckets that are small. */
  list(): Promise<T[]>
  /** Every present value, then every change, until the signal aborts or the watch breaks. */
  watch(signal: AbortSignal): AsyncIterable<Change<T>>
}

const tryMs = 2_000

/**
 * Opens a bucket. Values are parsed where they enter, so past this point they are what the schema
 * says.
 */
export async function openRecordStore<S extends z.ZodType>(
  bus: Bus,
  bucket: BucketSpec,
  schema: S,
): Promise<RecordStore<z.output<S>>> {
  type T = z.output<S>
  const kv = await bus.kvm.open(bucket.name, { bindOnly: true, allow_direct: true, timeout: tryMs })
  const subject = (key: string) => `$KV.${bucket.name}.${key}`

  /** A plain KV update drops the time to live of a key, so values are written as raw publishes. */
  async function write(key: string, value: T, revision: number, ttlMs?: number): Promise<number> {
    const written = await bus.client.publish(subject(key), JSON.stringify(value), {
      headers: headers(),
      timeout: tryMs,
      expect: { lastSubjectSequence: revision },
      ...(ttlMs ? { ttl: `${Math.ceil(ttlMs / 1000)}s` } : {}),
    })
    return written.seq
  }

  return {
    async find(key) {
      try {
        const entry = await kv.get(key)
        if (entry?.operation !== 'PUT') return undefined
        return { value: schema.parse(entry.json()), revision: entry.revision }
      } catch (error) {
        throw new AppError('BROKER_UNAVAILABLE', { cause: error })
      }
    },
    async findMatching(pattern) {
      try {
        const found = await bus.manager.direct.getMessage(`KV_${bucket.name}`, {
          seq: 1,
          next_by_subj: subject(pattern),
        })
        // A tombstone says what was done to the key in a header, and has no value.
        if (!found || found.data.length === 0) return undefined
        return { value: schema.parse(found.json()), revision: found.seq }
      } catch (error) {
        throw new AppError('BROKER_UNAVAILABLE', { cause: error })
      }
    },
    async create(key, value) {
      try {
        return await write(key, value, 0)
      } catch (error) {
        if (isWrongRevision(error)) return 'exists'
        throw new AppError('BROKER_UNAVAILABLE', { cause: error })
      }
    },
    async update(key, value, revision, ttlMs) {
      try {
        return await write(key, value, revision, ttlMs)
      } catch (error) {
        if (isWrongRevision(error)) return 'conflict'
        throw new AppError('BROKER_UNAVAILABLE', { cause: error })
      }
    },
    async list() {
      try {
        const keys: string[] = []
        for await (const key of await kv.keys()) keys.push(key)
        const entries = await Promise.all(keys.map((key) => kv.get(key)))
        return entries.flatMap((entry) =>
          entry?.operation === 'PUT' ? [schema.parse(entry.json())] : [],
        )
      } catch (error) {
        throw new AppError('BROKER_UNAVAILABLE', { cause: error })
      }
    },
    async *watch(signal) {
      const changes = await kv.watch({ key: '>' })
      const stop = () => changes.stop()
      signal.addEventListener('abort', stop, { once: true })
      try {
        for await (const entry of changes) {
          const value = entry.operation === 'PUT' ? schema.parse(entry.json()) : undefined
          yield { key: entry.key, value, revision: entry.revision, isUpdate: entry.isUpdate }
        }
      } finally {
        signal.removeEventListener('abort', stop)
        changes.stop()
      }
    },
  }
}
