import { addAbortListener } from 'node:events'
import type { BucketSpec } from '@avatar/contracts'
import type { JsMsg } from '@nats-io/jetstream'
import type { KvEntry, Kvm } from '@nats-io/kv'
import { headers } from '@nats-io/transport-node'
import type { z } from 'zod'
import { type OrderedSource, readInOrder } from './bus-ordered.ts'
import {
  type AskStorage,
  isInProcess,
  isMovedOn,
  publishFailure,
  type StoreWatcher,
} from './bus-publish.ts'
import { orUnavailable } from './bus-streams.ts'
import type { Clock } from './clock.ts'
import { AppError } from './errors.ts'
import { type Log, logFailure } from './log.ts'

/** A value and the revision to change it from. */
export type Versioned<T> = { value: T; revision: number }

/** One change seen by a watch; `value` is undefined when the key was removed. */
export type Change<T> = { key: string; value: T | undefined; revision: number; isUpdate: boolean }

/** After `ttlMs` the value expires. A write without an answer within `timeoutMs` fails; it is not repeated. */
export type WriteOptions = { ttlMs?: number | undefined; timeoutMs?: number }

/** Values of one kind in a key-value bucket, changed only by compare-and-set. */
export type RecordStore<T> = {
  /** @throws AppError BROKER_UNAVAILABLE */
  find(key: string): Promise<Versioned<T> | undefined>
  /** The first present value whose key matches a pattern (`*` for one token). */
  findMatching(pattern: string): Promise<Versioned<T> | undefined>
  /**
   * A removed key is as free as one that never was: the server counts the marker of its removal as its
   * last value, so the write names the marker's revision.
   *
   * @returns the new revision, or `exists`
   * @throws AppError BROKER_UNAVAILABLE, also while another write to the key is on its way through the cluster
   */
  create(key: string, value: T): Promise<number | 'exists'>
  /** @returns the new revision, or `conflict` when the record has moved on */
  update(
    key: string,
    value: T,
    revision: number,
    options?: WriteOptions,
  ): Promise<number | 'conflict'>
  /**
   * Every present value, held in memory together: a hundred thousand job records take 0.5 GB. Of three brokers,
   * any may be read, and one that is behind lacks what was written a moment ago.
   *
   * @throws AppError BROKER_UNAVAILABLE, UNEXPECTED for a value that does not follow its schema
   */
  list(): Promise<T[]>
  /**
   * Yields every present value, then every change, until the signal aborts or the watch breaks. A
   * value that does not follow its schema is logged and left out, so that it hides no other.
   * `onCurrent` is called once all values that were there before the watch have been yielded. From a
   * revision on, only later changes are yielded: a watch that broke resumes behind the last one it saw.
   * `pattern` chooses the keys, as NATS does; by default all.
   */
  watch(
    signal: AbortSignal,
    onCurrent?: () => void,
    fromRevision?: number,
    pattern?: string,
  ): AsyncIterable<Change<T>>
}

const tryMs = 2_000
/** A hundred thousand records take seconds. A reading that waits for what is no longer there ends here. */
const listWithinMs = 60_000
/** A write on its way through the cluster is through, or waits for a leader. */
const inProcessMs = 100
/** A marker may expire, and another writer may create the key, between a try and the look after it. */
const createTries = 3
/** When so many writes are not told by any watch, their texts are forgotten. They only spare a parse. */
const untoldMax = 1_000

/**
 * Opens a bucket. Values are parsed where they enter, so past this point they follow the schema.
 *
 * Reads are answered by the bucket's leader, which knows every write that was acknowledged. A direct read costs
 * a quarter less time, and any copy answers it: of three, one in twelve did not have what was just written. Then
 * a job does not exist, an event has nothing to do, and both are forgotten. Cut off from the leader, a read fails.
 */
export async function openRecordStore<S extends z.ZodType>(
  broker: OrderedSource & {
    kvm: Kvm
    askStorage: AskStorage
    mover: StoreWatcher
    clock: Clock
    onReconnect: (call: () => void) => { stop(): void }
  },
  log: Log,
  bucket: BucketSpec,
  schema: S,
): Promise<RecordStore<z.output<S>>> {
  type T = z.output<S>
  const { client, manager, kvm, askStorage, mover, clock, onReconnect } = broker
  const kv = await kvm.open(bucket.name, { bindOnly: true, allow_direct: false, timeout: tryMs })
  const stream = `KV_${bucket.name}`
  const subject = (key: string) => `$KV.${bucket.name}.${key}`
  const keyOf = (message: JsMsg) => message.subject.slice(subject('').length)
  let watches = 0
  /** What this process writes, until a watch tells it: often before the write is answered, so by its text. */
  const untold = new Map<string, T>()
  const untoldKey = (key: string, text: string) => `${key} ${text}`

  function parse(key: string, value: unknown): T {
    const parsed = schema.safeParse(value)
    if (parsed.success) return parsed.data
    throw new AppError('UNEXPECTED', {
      cause: parsed.error,
      details: { bucket: bucket.name, record: key },
    })
  }

  /** A value that this process wrote itself is not parsed again. */
  function read(key: string, message: JsMsg): T | undefined {
    if (!isValue(message)) return undefined
    const own = untoldKey(key, message.string())
    const value = untold.get(own)
    untold.delete(own)
    return value ?? parse(key, message.json())
  }

  /**
   * Undefined when the key has another revision. A KV update drops the key's time to live, so values are
   * written by a publish.
   */
  async function write(
    key: string,
    value: T,
    revision: number,
    { ttlMs, timeoutMs = tryMs }: WriteOptions = {},
  ) {
    const text = JSON.stringify(value)
    if (untold.size >= untoldMax) untold.clear()
    const own = untoldKey(key, text)
    if (watches > 0) untold.set(own, value)
    try {
      const written = await client.publish(subject(key), text, {
        headers: headers(),
        timeout: timeoutMs,
        expect: { lastSubjectSequence: revision },
        ...(ttlMs ? { ttl: `${Math.ceil(ttlMs / 1000)}s` } : {}),
      })
      mover.noteStored()
      return written.seq
    } catch (error) {
      untold.delete(own)
      if (isMovedOn(error)) return undefined
      if (isInProcess(error)) {
        // Whoever is told of it reads and tries again at once.
        await clock.wait(inProcessMs)
        return undefined
      }
      mover.noteFailure(error)
      throw (await publishFailure(error, subject(key), askStorage)).failure
    }
  }

  /** The first value or marker at this revision or later; null without any. */
  function firstFrom(revision: number, pattern: string) {
    // The client library's type leaves `next_by_subj` out, which the broker knows here as in a direct read.
    const query = { seq: revision, next_by_subj: subject(pattern) }
    return orUnavailable(manager.streams.getMessage(stream, query))
  }

  return {
    async find(key) {
      const entry = await orUnavailable(kv.get(key))
      if (!entry || !isPresent(entry)) return undefined
      return { value: parse(key, entry.json()), revision: entry.revision }
    },
    async findMatching(pattern) {
      const found = await firstFrom(1, pattern)
      // A tombstone has no value: a header says what was done to the key.
      if (!found || found.data.length === 0) return undefined
      return { value: parse(pattern, found.json()), revision: found.seq }
    },
    async create(key, value) {
      let revision = 0
      for (let tries = 1; tries <= createTries; tries++) {
        const written = await write(key, value, revision)
        if (written !== undefined) return written
        const entry = await orUnavailable(kv.get(key))
        if (entry && isPresent(entry)) return 'exists'
        revision = entry?.revision ?? 0
      }
      // A write that is on its way may still be dropped with its leader: there is no record of which to tell.
      throw new AppError('BROKER_UNAVAILABLE')
    },
    update: async (key, value, revision, options) =>
      (await write(key, value, revision, options)) ?? 'conflict',
    async list() {
      const reading = await readInOrder(broker, stream, { subject: subject('>') })
      const tooLate = AbortSignal.timeout(listWithinMs)
      const stopping = addAbortListener(tooLate, () => reading.stop())
      // By key, for what changes meanwhile is read again.
      const found = new Map<string, T>()
      try {
        if (reading.pending === 0) return []
        for await (const message of reading.messages) {
          const key = keyOf(message)
          if (isValue(message)) found.set(key, parse(key, message.json()))
          else found.delete(key)
          if (message.info.pending === 0) return [...found.values()]
        }
        throw new AppError('BROKER_UNAVAILABLE')
      } finally {
        stopping[Symbol.dispose]()
        await reading.close()
      }
    },
    async *watch(signal, onCurrent = () => undefined, fromRevision = 0, pattern = '>') {
      const reading = await readInOrder(broker, stream, {
        subject: subject(pattern),
        sequence: fromRevision || undefined,
      })
      const stopping = addAbortListener(signal, () => reading.stop())
      // What was missed meanwhile is read at once only by a new watch.
      const reconnecting = onReconnect(() => reading.stop())
      watches++
      try {
        let isCurrent = reading.pending === 0
        let left = reading.pending
        if (isCurrent) onCurrent()
        for await (const message of reading.messages) {
          const { seq: revision } = message
          const key = keyOf(message)
          try {
            yield { key, value: read(key, message), revision, isUpdate: isCurrent }
          } catch (error) {
            logFailure(log, error, 'record left out, it does not follow its schema')
          }
          left--
          if (isCurrent || (left > 0 && message.info.pending > 0)) continue
          isCurrent = true
          onCurrent()
        }
      } finally {
        if (--watches === 0) untold.clear()
        stopping[Symbol.dispose]()
        reconnecting.stop()
        await reading.close()
      }
    },
  }
}

/** False for the marker of a removal: some are the server's own, without an operation and without a value. */
function isValue({ headers, data }: JsMsg): boolean {
  return !headers?.get('KV-Operation') && data.length > 0
}

/** False for a marker: the server's own markers have no operation that the library knows, and no value. */
function isPresent({ operation, value }: KvEntry): boolean {
  return operation === 'PUT' && value.length > 0
}
