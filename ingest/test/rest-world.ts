import { createHash, randomUUID } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { provisionBroker } from '@avatar/backing-services'
import {
  createTestNats,
  createTestS3,
  type TestNats,
  type TestS3,
  type TestUser,
} from '@avatar/backing-services/testing'
import {
  apiKeyRecordSchema,
  buckets,
  type JobRecord,
  jobKey,
  jobRecordSchema,
  scaledTimings,
} from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import {
  type Bus,
  createBrokerClock,
  createLog,
  createMetrics,
  createObjectStore,
  formatApiKey,
  hashApiKey,
  loadConfig,
  randomBase62,
  stopInPhases,
  systemClock,
} from '@avatar/service-kit'
import { afterAll, beforeAll } from 'vitest'
import { buildIngest } from '../src/build-ingest.ts'
import { ingestConfigSchema } from '../src/config.ts'
import type { LimitsOf } from '../src/rate/policies.ts'
import { ffmpegPath } from './media-fixtures.ts'

export const portrait = await readFile(join(import.meta.dirname, '../../examples/portrait.jpg'))
export const voice = await readFile(join(import.meta.dirname, '../../examples/voice.wav'))

/** Tests come faster than a client may. */
export const unlimited = {
  LIMIT_SUBMITS_PER_MINUTE: '1000000',
  LIMIT_SUBMIT_BURST: '1000000',
  LIMIT_READS_PER_MINUTE: '1000000',
  LIMIT_READ_BURST: '1000000',
  LIMIT_FAILED_KEYS_PER_MINUTE: '1000000',
  LIMIT_FAILED_KEY_BURST: '1000000',
}

/** The environment of an ingest that uses these servers and takes free ports. */
export function ingestEnvironment(nats: TestNats, s3: TestS3, spoolDir: string) {
  return {
    NATS_URL: nats.url,
    NATS_USER: 'ingest',
    NATS_PASSWORD: nats.passwords.ingest,
    S3_ENDPOINT: s3.endpoint,
    // The same server under another name, so that a link shows which of the two addresses it has.
    S3_PUBLIC_ENDPOINT: s3.endpoint.replace('127.0.0.1', 'localhost'),
    R2_ACCESS_KEY_ID: s3.accessKeyId,
    R2_SECRET_ACCESS_KEY: s3.secretAccessKey,
    R2_BUCKET_NAME: s3.bucket,
    METRICS_PORT: '0',
    HTTP_PORT: '0',
    FFMPEG_PATH: ffmpegPath,
    SPOOL_DIR: spoolDir,
    ...unlimited,
  }
}

type WorldOptions = {
  divisor?: number
  spoolParent?: string
  env?: Record<string, string>
  limitsOf?: LimitsOf
}

/** The world of a test file: created before its tests, stopped after them. */
export function useRestWorld(options: WorldOptions = {}): RestWorld {
  const world = {} as RestWorld // Filled before any test reads it.
  beforeAll(async () => {
    Object.assign(world, await createRestWorld(options))
  })
  afterAll(() => world.stop())
  return world
}

/**
 * Ingest with both doors, its REST door on a real port, with a real broker and a real store, and
 * without an orchestrator. Uploads are spooled under `spoolParent`; waits are `divisor` times shorter
 * than in production. `env` is added to the environment.
 */
export async function createRestWorld(options: WorldOptions = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'avatar-ingest-'))
  const [nats, s3] = await Promise.all([createTestNats(), createTestS3()])
  await Promise.all([nats.start(), s3.start()])
  const lines: string[] = []
  const log = createLog('test', 'info', { destination: { write: (line) => void lines.push(line) } })
  const timings = scaledTimings(options.divisor ?? 1)
  const connections: Bus[] = []
  const connectAs = async (user: TestUser) => {
    const bus = await nats.connectAs(user, { log })
    connections.push(bus)
    return bus
  }
  await provisionBroker(nats.operator, timings)
  const operator = await connectAs('operator')
  const raw = await nats.connectRawAs('operator')
  const bus = await connectAs('ingest')
  const clock = createBrokerClock({ bus, clock: systemClock, log })
  await clock.start()
  const objects = createObjectStore(s3)
  const jobs = await operator.records(buckets.job, jobRecordSchema)
  const keys = await operator.records(buckets.apikey, apiKeyRecordSchema)
  const spoolParent = options.spoolParent ?? directory
  const spoolDir = join(spoolParent, 'uploads')
  const metrics = createMetrics('ingest')
  const config = loadConfig(ingestConfigSchema, {
    ...ingestEnvironment(nats, s3, spoolParent),
    ALLOWED_ORIGINS: 'https://app.example',
    ...options.env,
  })
  const ingest = await buildIngest(
    {
      ...{ config, bus, clock, log, metrics, agreement: clock },
      // Short, because a recall acts at its second look, and a test calls it by hand.
      timings: { ...timings, behindMs: 1 },
    },
    options.limitsOf,
  )
  const { app, board, intake, recall } = ingest
  const parts = ingest.start.filter((part) => part !== recall)
  for (const part of parts) await part.start()
  const { port } = app.server.address() as AddressInfo // It listens on a port.
  const url = `http://127.0.0.1:${port}`

  /** The key of a new owner, as the operator creates it. */
  async function createKey(difference: { revokedAtMs?: number } = {}) {
    const publicId = randomBase62(12)
    const owner = `o_${publicId}`
    const key = formatApiKey(publicId, randomBase62(32))
    const createdAtMs = Date.now()
    const secrets = [{ sha256: hashApiKey(key), lastFour: key.slice(-4), createdAtMs }]
    const record = { publicId, owner, name: 'test', createdAtMs, secrets, ...difference }
    const revision = await keys.create(publicId, record)
    const revoke = () =>
      keys.update(publicId, { ...record, revokedAtMs: Date.now() }, Number(revision))
    return { key, owner, revoke, headers: { authorization: `Bearer ${key}` } }
  }

  /** Another replica of ingest, at its own address, on the same broker and store. */
  async function startReplica(limitsOf?: LimitsOf) {
    const folder = await mkdtemp(join(spoolParent, 'replica-'))
    const itsBus = await connectAs('ingest')
    const itsMetrics = createMetrics('ingest')
    const replica = await buildIngest(
      {
        ...{ bus: itsBus, clock, log, agreement: clock, timings, metrics: itsMetrics },
        config: loadConfig(ingestConfigSchema, {
          ...ingestEnvironment(nats, s3, folder),
          ...options.env,
        }),
      },
      limitsOf,
    )
    for (const part of replica.start) await part.start()
    const { port } = replica.app.server.address() as AddressInfo // It listens on a port.
    return {
      url: `http://127.0.0.1:${port}`,
      app: replica.app,
      metrics: itsMetrics,
      stop: () => stopInPhases(replica.stopPhases, clock, log),
    }
  }

  const mine = await createKey()

  type Answer = { status: number; headers: Headers; body: Record<string, never> }

  /** A request with the world's own key, unless `init` brings another one. */
  async function call(path: string, init: RequestInit = {}): Promise<Answer> {
    const response = await fetch(url + path, {
      ...init,
      headers: { ...mine.headers, ...init.headers },
    })
    const text = await response.text()
    return {
      status: response.status,
      headers: response.headers,
      body: text ? JSON.parse(text) : {},
    }
  }

  /** A multipart submission; undefined leaves a part out. */
  function generate(
    parts: {
      image?: Uint8Array | undefined
      audio?: Uint8Array | undefined
      fields?: Record<string, string>
    } = {},
    headers: Record<string, string> = {},
  ) {
    const form = new FormData()
    const { image = portrait, audio = voice, fields = {} } = parts
    if (!('image' in parts) || parts.image) form.append('image', new Blob([image as never]), 'i')
    if (!('audio' in parts) || parts.audio) form.append('audio', new Blob([audio as never]), 'a')
    for (const [name, value] of Object.entries(fields)) form.append(name, value)
    return call('/generate', { method: 'POST', body: form, headers })
  }

  /** Everything a submission could leave somewhere. */
  async function traces() {
    const stored: string[] = []
    for await (const { key } of objects.list('jobs/')) stored.push(key)
    const records = await raw.manager.streams.info('KV_job')
    const events = await raw.manager.streams.info('EVENTS')
    return {
      stored: stored.toSorted(),
      records: records.state.last_seq,
      events: events.state.last_seq,
      spooled: await readdir(spoolDir),
    }
  }

  /** Writes a record as the orchestrator would leave it. */
  async function putJob(difference: Partial<JobRecord> = {}) {
    const job = aJob({ jobId: randomUUID(), owner: mine.owner, ...difference })
    await jobs.create(jobKey(job.owner, job.jobId), job)
    return job
  }

  async function putObject(key: string, content: Uint8Array) {
    const path = join(directory, randomUUID())
    await writeFile(path, content)
    const sha256 = createHash('sha256').update(content).digest('hex')
    await objects.putFile(key, path, content.length, sha256)
    await rm(path)
  }

  return {
    nats,
    s3,
    app,
    parts,
    intake,
    recall,
    operator,
    raw,
    metrics,
    connectAs,
    startReplica,
    objects,
    jobs,
    board,
    url,
    mine,
    createKey,
    call,
    generate,
    putJob,
    putObject,
    traces,
    /** The log lines with this message. */
    logged: (message: string) => lines.filter((line) => JSON.parse(line).msg === message),
    /** Everything that was logged. */
    log: () => lines.join(''),
    spoolDir,
    spooled: () => readdir(spoolDir),
    async stop() {
      await stopInPhases(ingest.stopPhases, clock, log)
      await clock.stop()
      await Promise.all([raw.connection.close(), ...connections.map((each) => each.stop())])
      objects.stop()
      await Promise.all([nats.stop(), s3.stop()])
      await rm(directory, { recursive: true, force: true })
    },
  }
}

export type RestWorld = Awaited<ReturnType<typeof createRestWorld>>
