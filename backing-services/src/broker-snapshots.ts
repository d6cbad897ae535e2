import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type BucketSpec, buckets, inboxPrefix, streams } from '@avatar/contracts'
import type { JetStreamManager } from '@nats-io/jetstream'
import { createInbox, type NatsConnection } from '@nats-io/transport-node'
import { z } from 'zod'
import { asBrokerOperator, type OperatorAccess } from './operator-connection.ts'

/** The broker sends, and takes, a stream in pieces of this size. */
const chunkBytes = 256 * 1024
/** A broker that is silent for this long in the middle of a snapshot has gone. */
const silentForMs = 30_000

const manifestFile = 'manifest.json'

const savedStreamSchema = z.object({
  name: z.string(),
  file: z.string(),
  bytes: z.int().nonnegative(),
  sha256: z.string(),
  messages: z.int().nonnegative(),
  /** The broker's own, which it wants back as they were. */
  config: z.looseObject({ name: z.string() }),
  state: z.looseObject({}),
})
const manifestSchema = z.object({
  /** Of this layout. */
  version: z.literal(1),
  savedAt: z.iso.datetime(),
  streams: z.array(savedStreamSchema),
})
export type BackupManifest = z.infer<typeof manifestSchema>

/** A backup cannot be written, or a restore would lose what is there; the message says what to do. */
export class SnapshotError extends Error {
  override readonly name = 'SnapshotError'
}

/**
 * Whatever refers to a record is saved before the records: a restored broker then knows of no event, timer
 * or posting whose job it has not, and the reconciler makes up for what the records are ahead.
 */
const savedLast = [streams.EVENTS.name, `KV_${buckets.job.name}`]
const kept = Object.values<BucketSpec>(buckets).filter(({ inMemory }) => !inMemory)
/** All that a broker holds which was only provisioned: it counts as empty. */
const layoutNote = `KV_${buckets.meta.name}`
const inOrder = [
  ...Object.values(streams).map(({ name }) => name as string),
  ...kept.map(({ name }) => `KV_${name}`),
].toSorted((a, b) => savedLast.indexOf(a) - savedLast.indexOf(b))

/**
 * Writes every stream and bucket, with their consumers, into a new or empty folder, by the snapshot API of
 * JetStream. The system may run meanwhile. What lies in the broker's memory is left out: rates.
 *
 * The manifest is written last: a folder without one is no backup.
 *
 * @throws SnapshotError when the folder has something in it; the client's error when the broker fails
 */
export async function backupBroker(
  access: OperatorAccess,
  folder: string,
  savedAtMs: number,
): Promise<BackupManifest> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  if ((await readdir(folder)).length > 0)
    throw new SnapshotError(`${folder} is not empty; name a new folder for each backup.`)
  return asBrokerOperator(access, async (manager, connection) => {
    const present = await namesOf(manager)
    const saved: BackupManifest['streams'] = []
    for (const name of inOrder)
      if (present.has(name))
        saved.push(await saveStream({ connection, user: access.user }, name, folder))
    const savedAt = new Date(savedAtMs).toISOString()
    const manifest: BackupManifest = { version: 1, savedAt, streams: saved }
    const partial = join(folder, `${manifestFile}.part`)
    await writeFile(partial, `${JSON.stringify(manifest, null, 2)}\n`, { mode: 0o600 })
    await rename(partial, join(folder, manifestFile))
    return manifest
  })
}

/**
 * Restores a backup into a broker that holds none of its messages. Every file is checked before the first
 * is sent.
 *
 * @param force deletes what the broker holds
 * @throws SnapshotError for a folder that is no whole backup, or a broker that is not empty
 */
export async function restoreBroker(
  access: OperatorAccess,
  folder: string,
  { force = false }: { force?: boolean } = {},
): Promise<BackupManifest> {
  const manifest = await readManifest(folder)
  for (const saved of manifest.streams) await checkFile(folder, saved)
  return asBrokerOperator(access, async (manager, connection) => {
    const present = await namesOf(manager)
    const inTheWay = manifest.streams.filter(
      ({ name }) => name !== layoutNote && (present.get(name) ?? 0) > 0,
    )
    if (inTheWay.length > 0 && !force) {
      const names = inTheWay.map(({ name }) => name).join(', ')
      throw new SnapshotError(
        `The broker is not empty: ${names}. Restore into an empty one, or delete what it holds with --force.`,
      )
    }
    for (const { name } of manifest.streams)
      if (present.has(name)) await manager.streams.delete(name)
    for (const saved of manifest.streams) await sendStream(connection, folder, saved)
    return manifest
  })
}

/** The streams of the broker, and how many messages each holds. */
async function namesOf(manager: JetStreamManager): Promise<Map<string, number>> {
  const found = new Map<string, number>()
  for await (const { config, state } of manager.streams.list())
    found.set(config.name, state.messages)
  return found
}

/** The broker's answers to both requests. */
const answerSchema = z.looseObject({
  error: z.object({ description: z.string() }).optional(),
  config: z.looseObject({ name: z.string() }).optional(),
  state: z.looseObject({ messages: z.int() }).optional(),
  deliver_subject: z.string().optional(),
})

async function saveStream(
  { connection, user }: { connection: NatsConnection; user: string },
  name: string,
  folder: string,
): Promise<BackupManifest['streams'][number]> {
  const file = `${name}.snapshot`
  const path = join(folder, file)
  const target = await open(path, 'wx', 0o600)
  const deliver = createInbox(inboxPrefix(user))
  const chunks = connection.subscribe(deliver, { timeout: silentForMs })
  const hash = createHash('sha256')
  let bytes = 0
  try {
    const order = { deliver_subject: deliver, chunk_size: chunkBytes, no_consumers: false }
    const { config, state } = await requestOf(connection, `$JS.API.STREAM.SNAPSHOT.${name}`, order)
    if (!config || !state) throw new SnapshotError(`The broker does not say what ${name} is.`)
    for await (const chunk of chunks) {
      if (chunk.data.length === 0) {
        const { code = 0, description } = chunk.headers ?? {}
        if (code >= 400) throw new SnapshotError(`The broker broke off: ${description}.`)
        break
      }
      hash.update(chunk.data)
      bytes += chunk.data.length
      await target.write(chunk.data)
      // The broker sends only a few pieces ahead of their acknowledgements.
      chunk.respond()
    }
    await target.sync()
    return {
      name,
      file,
      bytes,
      sha256: hash.digest('hex'),
      messages: state.messages,
      config,
      state,
    }
  } finally {
    chunks.unsubscribe()
    await target.close()
  }
}

async function sendStream(
  connection: NatsConnection,
  folder: string,
  { name, file, config, state }: BackupManifest['streams'][number],
): Promise<void> {
  const begun = await requestOf(connection, `$JS.API.STREAM.RESTORE.${name}`, { config, state })
  const { deliver_subject: deliver } = begun
  if (!deliver) throw new SnapshotError(`The broker does not take ${name}.`)
  const source = createReadStream(join(folder, file), { highWaterMark: chunkBytes })
  for await (const chunk of source)
    await connection.request(deliver, chunk as Buffer, { timeout: silentForMs })
  await requestOf(connection, deliver, undefined)
}

/** @throws SnapshotError with the broker's own words when it refuses */
async function requestOf(connection: NatsConnection, subject: string, body: object | undefined) {
  const payload = body === undefined ? undefined : JSON.stringify(body)
  const reply = await connection.request(subject, payload, { timeout: silentForMs })
  const answer = answerSchema.parse(reply.json())
  if (answer.error) throw new SnapshotError(`The broker refuses: ${answer.error.description}.`)
  return answer
}

async function readManifest(folder: string): Promise<BackupManifest> {
  const path = join(folder, manifestFile)
  const text = await readFile(path, 'utf8').catch((cause: Error) => {
    throw new SnapshotError(`${folder} is no whole backup: ${cause.message}`, { cause })
  })
  const parsed = manifestSchema.safeParse(JSON.parse(text))
  if (parsed.success) return parsed.data
  throw new SnapshotError(`${path} is not the manifest of a backup.`, { cause: parsed.error })
}

async function checkFile(folder: string, { file, sha256 }: BackupManifest['streams'][number]) {
  const hash = createHash('sha256')
  try {
    for await (const block of createReadStream(join(folder, file))) hash.update(block)
  } catch (cause) {
    throw new SnapshotError(`${file} of the backup cannot be read.`, { cause })
  }
  if (hash.digest('hex') !== sha256)
    throw new SnapshotError(`${file} is damaged: it is not what was saved. Take another backup.`)
}
