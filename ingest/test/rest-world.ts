import { randomUUID } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  apiKeyRecordSchema,
  buckets,
  consumers,
  inboxPrefix,
  type JobRecord,
  jobKey,
  jobRecordSchema,
  type ServiceUser,
  scaledTimings,
} from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import {
  type Bus,
  connectBus,
  consumerLoop,
  createLog,
  createMetrics,
  createObjectStore,
  formatApiKey,
  hashApiKey,
  openRecordStore,
  provision,
  randomBase62,
  systemClock,
} from '@avatar/service-kit'
import { createTestNats, createTestS3 } from '@avatar/service-kit/testing'
import { createAdmission } from '../src/admission.ts'
import { createApiKeys } from '../src/api-keys.ts'
import { buildApp } from '../src/app.ts'
import { createBoard } from '../src/board.ts'
import { onIntakeSubmitted } from '../src/intake.ts'
import { measureAdmission } from '../src/measure-admission.ts'
import { createMediaChecks } from '../src/media/media-checks.ts'
import { recallIntake } from '../src/recall-intake.ts'
import { createInputTaker } from '../src/take-inputs.ts'
import { createUploadSpool } from '../src/upload-spool.ts'
import { createWorkers } from '../src/workers.ts'
import { ffmpegPath } from './media-fixtures.ts'

export const portrait = await readFile(join(import.meta.dirname, '../../examples/portrait.jpg'))
export const voice = await readFile(join(import.meta.dirname, '../../examples/voice.wav'))

/**
 * The REST door on a real port, with a real broker and a real store, and no orchestrator. Uploads are
 * spooled under `spoolParent`; waits are `divisor` times shorter than in earnest.
 */
export async function createRestWorld(options: { divisor?: number; spoolParent?: string } = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'avatar-ingest-'))
  const [nats, s3] = await Promise.all([createTestNats(), createTestS3()])
  await Promise.all([nats.start(), s3.start()])
  const lines: string[] = []
  const log = createLog('test', 'info', { write: (line) => void lines.push(line) })
  const clock = systemClock
  const timings = scaledTimings(options.divisor ?? 1)
  const connections: Bus[] = []
  const connectAs = async (user: ServiceUser | 'acme' | 'other') => {
    const password = user in nats.passwords ? nats.passwords[user as ServiceUser] : `test-${user}`
    const bus = await connectBus({
      url: nats.url,
      user,
      password,
      inboxPrefix: inboxPrefix(user),
      log,
    })
    connections.push(bus)
    return bus
  }
  const operator = await connectAs('operator')
  await provision(operator, timings)
  const bus = await connectAs('ingest')
  const objects = createObjectStore(s3)
  const records = await openRecordStore(bus, buckets.job, jobRecordSchema)
  const jobs = await openRecordStore(operator, buckets.job, jobRecordSchema)
  const keys = await openRecordStore(operator, buckets.apikey, apiKeyRecordSchema)
  const spoolDir = join(options.spoolParent ?? directory, 'uploads')
  const spool = createUploadSpool(spoolDir)
  await spool.wipe()
  const media = createMediaChecks({ ffmpegPath, tempDir: join(directory, 'checks'), log })
  const board = createBoard({ records, clock, log })
  const workers = createWorkers({ bus, clock, timings })
  const metrics = createMetrics('test')
  const shared = { bus, records, objects, board, workers, clock, timings, log, metrics }
  const inputs = createInputTaker({ ...shared, media })
  const admission = createAdmission({ ...shared, inputs, minDeadlineSeconds: 600 })
  const admit = measureAdmission(admission, shared)
  const intake = consumerLoop({
    ...shared,
    spec: consumers(timings).ingest,
    concurrency: 4,
    handle: onIntakeSubmitted({ ...shared, admit, spool }),
  })
  const recall = recallIntake({
    ...shared,
    spec: consumers(timings).ingest,
    timings: { ...timings, entryMissingMs: 1 },
  })
  const app = await buildApp({
    ...shared,
    apiKeys: createApiKeys({
      records: await openRecordStore(bus, buckets.apikey, apiKeyRecordSchema),
      clock,
      timings,
    }),
    admit,
    spool,
    allowedOrigins: ['https://app.example'],
    hasDocs: true,
    resultUrlTtlSeconds: 900,
  })
  for (const part of [media, board, workers, intake]) await part.start()
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo // It listens on a port.
  const url = `http://127.0.0.1:${port}`

  /** A key of a new owner, as the operator makes it. */
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

  const mine = await createKey()

  type Answer = { status: number; headers: Headers; body: Record<string, never> }

  /** A request with the world's own key, unless headers say otherwise. */
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
    const records = await operator.manager.streams.info('KV_job')
    const events = await operator.manager.streams.info('EVENTS')
    return {
      stored: stored.toSorted(),
      records: records.state.last_seq,
      events: events.state.last_seq,
      spooled: await readdir(spoolDir),
    }
  }

  /** A record as the orchestrator would leave it. */
  async function putJob(difference: Partial<JobRecord> = {}) {
    const job = aJob({ jobId: randomUUID(), owner: mine.owner, ...difference })
    await jobs.create(jobKey(job.owner, job.jobId), job)
    return job
  }

  return {
    nats,
    s3,
    app,
    intake,
    recall,
    operator,
    metrics,
    connectAs,
    objects,
    jobs,
    board,
    url,
    mine,
    createKey,
    call,
    generate,
    putJob,
    traces,
    /** The log lines so far with this message. */
    logged: (message: string) => lines.filter((line) => JSON.parse(line).msg === message),
    records,
    spoolDir,
    spooled: () => readdir(spoolDir),
    async stop() {
      await Promise.all([app.close(), intake.stop()])
      await Promise.all([media.stop(), board.stop(), workers.stop()])
      await Promise.all(connections.map((connection) => connection.stop()))
      objects.stop()
      await Promise.all([nats.stop(), s3.stop()])
      await rm(directory, { recursive: true, force: true })
    },
  }
}

export type RestWorld = Awaited<ReturnType<typeof createRestWorld>>
