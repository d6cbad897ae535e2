import { createHash, randomUUID } from 'node:crypto'
import { rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { provisionBroker } from '@avatar/backing-services'
import { createTestNats, createTestS3 } from '@avatar/backing-services/testing'
import {
  buckets,
  type ClaimAnswer,
  type EventOf,
  eventId,
  type JobRecord,
  jobKey,
  jobRecordSchema,
  outputKey,
  type ServiceUser,
  type StoreAnswer,
  scaledTimings,
  subjects,
} from '@avatar/contracts'
import { aJob, aRender } from '@avatar/contracts/testing'
import {
  type Bus,
  createLog,
  createMetrics,
  createObjectStore,
  loadConfig,
  stopInPhases,
  systemClock,
} from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { jetstream } from '@nats-io/jetstream'
import { afterAll, beforeAll } from 'vitest'
import { buildOrchestrator } from '../src/build-orchestrator.ts'
import { orchestratorConfigSchema } from '../src/config.ts'
import type { Message } from '../src/decide.ts'
import { createJobLedger } from '../src/job-ledger.ts'

export const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

/** A broker, a store and the orchestrator in this process, with a worker that a test plays by hand. */
export async function createWorld({ divisor = 20 } = {}) {
  const nats = await createTestNats()
  const s3 = await createTestS3()
  await Promise.all([nats.start(), s3.start()])
  const log = createLog('test', 'silent')
  const timings = scaledTimings(divisor)
  const connections: Bus[] = []
  const connectAs = async (user: ServiceUser, itsLog = log) => {
    const bus = await nats.connectAs(user, { log: itsLog })
    connections.push(bus)
    return bus
  }
  const operator = await connectAs('operator')
  await provisionBroker(nats.operator, timings)
  const raw = await nats.connectRawAs('operator')
  const client = jetstream(raw.connection)
  const objects = createObjectStore(s3)
  const records = await operator.records(buckets.job, jobRecordSchema)

  async function startOrchestrator() {
    const metrics = createMetrics('orchestrator')
    const lines: string[] = []
    const destination = { write: (line: string) => void lines.push(line) }
    const itsLog = createLog('orchestrator', 'info', { destination })
    const bus = await connectAs('orchestrator', itsLog)
    const config = loadConfig(orchestratorConfigSchema, {
      NATS_URL: nats.url,
      NATS_USER: 'orchestrator',
      NATS_PASSWORD: nats.passwords.orchestrator,
      S3_ENDPOINT: s3.endpoint,
      R2_ACCESS_KEY_ID: s3.accessKeyId,
      R2_SECRET_ACCESS_KEY: s3.secretAccessKey,
      R2_BUCKET_NAME: s3.bucket,
      METRICS_PORT: '0',
      VIDEO_RETENTION_HOURS: String(1 / 60),
    })
    const parts = await buildOrchestrator({
      config,
      log: itsLog,
      bus,
      metrics,
      clock: systemClock,
      timings,
    })
    for (const part of parts.start) await part.start()
    return {
      metrics,
      /** Its log, each line parsed. */
      lines: () => lines.map((line): Record<string, unknown> => JSON.parse(line)),
      async stop() {
        await stopInPhases(parts.stopPhases, systemClock, log)
        await Promise.all([bus.stop(), metrics.stop()])
      },
    }
  }

  /** The record as the orchestrator would leave it had it died before it published anything. */
  async function crashAfterWriting(job: JobRecord, message: Message) {
    const rules = { retentionMs: 60_000, minDeadlineSeconds: 600, timings }
    const ledger = createJobLedger({ records, clock: systemClock, rules })
    await ledger.apply(job.owner, job.jobId, message)
  }

  /** A job as ingest leaves it: inputs stored, record created; and, unless told not to, announced. */
  async function submit({
    announce = true,
    ...difference
  }: Partial<JobRecord> & { announce?: boolean } = {}) {
    const jobId = randomUUID()
    const job = aJob({ jobId, state: 'pending', createdAtMs: Date.now(), ...difference })
    await records.create(jobKey(job.owner, jobId), job)
    if (announce) await announceSubmission(job)
    return job
  }

  async function announceSubmission({ jobId, owner, epoch }: JobRecord) {
    await publishEvent({
      type: 'job.submitted',
      jobId,
      owner,
      epoch,
      revision: 1,
      atMs: Date.now(),
    })
  }

  async function publishEvent(
    event: { type: EventOf<'job.submitted'>['type'] | string } & Record<string, unknown>,
  ) {
    const known = event as EventOf<'job.submitted'> // Tests publish any event through here.
    await operator.publish(subjects.event(known.type, known.jobId), known, {
      messageId: eventId(known),
      traceparent: aJob().traceparent,
    })
  }

  const record = async (job: JobRecord) => (await records.find(jobKey(job.owner, job.jobId)))?.value
  /** A question that a killed broker took with it is asked again. */
  const reaches = (job: JobRecord, state: JobRecord['state'], timeoutMs = 25_000) =>
    until(
      async () => {
        const found = await record(job).catch(() => undefined)
        return found?.state === state ? found : undefined
      },
      { timeoutMs, what: `job in state ${state}` },
    )
  const holdsEntry = (job: JobRecord) => operator.hasMessage('GPU', subjects.gpuWork(job.jobId))

  const entryOf = async (job: JobRecord) =>
    (await operator.readStream('GPU', subjects.gpuWork(job.jobId), 1, 1))[0]
  const sequenceOfEntry = async (job: JobRecord) => (await entryOf(job))?.sequence

  /** Whether a worker that asks now is given the entry of this job; it hands it back at once. */
  async function pullsEntry(job: JobRecord): Promise<boolean> {
    const queue = await client.consumers.get('GPU', 'standard-normal')
    const pulled = await queue.fetch({ max_messages: 100, expires: 1_000 })
    let isThere = false
    for await (const message of pulled) {
      if (message.subject === subjects.gpuWork(job.jobId)) isThere = true
      message.nak()
    }
    return isThere
  }

  /** What a broker does that stops badly: the entries stay, and their consumer is past them. */
  async function forget(stream: 'GPU' | 'EVENTS', consumer: string) {
    const { state } = await raw.manager.streams.info(stream)
    await raw.connection.request(
      `$JS.API.CONSUMER.RESET.${stream}.${consumer}`,
      JSON.stringify({ seq: state.last_seq + 1 }),
    )
  }
  const forgetEntries = () => forget('GPU', 'standard-normal')
  const forgetEvents = () => forget('EVENTS', 'orchestrator')

  /** Lets a stream's window of duplicates pass, in a moment; ids that it saw before are new to it. */
  async function forgetMessageIds(stream: 'EVENTS') {
    const milliseconds = 1_000_000
    await raw.manager.streams.update(stream, { duplicate_window: 100 * milliseconds })
    const probe = { msgID: randomUUID() }
    await client.publish('evt.probe', '', probe)
    await until(async () => !(await client.publish('evt.probe', '', probe)).duplicate, {
      what: 'the end of the window',
    })
  }

  /** Waits until a consumer has handled and acknowledged all there is. */
  async function isIdle(consumer: 'orchestrator' | 'storage') {
    await until(
      async () => {
        const { num_pending, num_ack_pending } = await raw.manager.consumers.info(
          'EVENTS',
          consumer,
        )
        return num_pending + num_ack_pending === 0
      },
      { what: `an idle ${consumer}` },
    )
  }

  /** A worker played by hand, with the sidecar's own rights. */
  async function createWorker(workerId = 'w1', incarnation = 'i1') {
    const bus = await connectAs('sidecar')
    const about = (job: JobRecord) => ({
      jobId: job.jobId,
      owner: job.owner,
      revision: 0,
      atMs: Date.now(),
      workerId,
    })
    return {
      bus,
      workerId,
      claim: async (job: JobRecord) =>
        (await bus.request(
          subjects.claim,
          { jobId: job.jobId, owner: job.owner, workerId, incarnation, secondsPerVideoSecond: 1 },
          { timeoutMs: 10_000 },
        )) as ClaimAnswer,
      store: async (job: JobRecord, epoch: number, content = 'video') =>
        (await bus.request(
          subjects.store,
          {
            jobId: job.jobId,
            owner: job.owner,
            workerId,
            epoch,
            bytes: content.length,
            sha256: sha256(content),
          },
          { timeoutMs: 10_000 },
        )) as StoreAnswer,
      async says(
        type: 'started' | 'released' | 'cancelled' | 'failed',
        job: JobRecord,
        epoch: number,
      ) {
        const event = { type: `render.${type}`, ...about(job), epoch } as EventOf<'render.started'>
        const body =
          type === 'failed' ? { ...event, code: 'RENDER_FAILED', message: 'boom' } : event
        await bus.publish(subjects.event(event.type, job.jobId), body, {
          messageId: eventId(event),
        })
      },
      async upload(job: JobRecord, epoch: number, content = 'video') {
        const path = join(tmpdir(), `avatar-${randomUUID()}`)
        await writeFile(path, content)
        await objects.putFile(outputKey(job.jobId, epoch), path, content.length, sha256(content))
        await rm(path)
      },
      async completes(job: JobRecord, epoch: number, difference: Record<string, unknown> = {}) {
        const event: EventOf<'render.completed'> = {
          type: 'render.completed',
          ...about(job),
          epoch,
          rendered: aRender({
            key: outputKey(job.jobId, epoch),
            bytes: 'video'.length,
            sha256: sha256('video'),
            ...difference,
          }),
          renderStartedAtMs: 1,
          renderEndedAtMs: 2,
        }
        await bus.publish(subjects.event(event.type, job.jobId), event, {
          messageId: eventId(event),
        })
      },
      beats(jobs: { job: JobRecord; epoch: number; renderedForSeconds?: number }[]) {
        bus.publishCore(subjects.beat(workerId), {
          workerId,
          incarnation,
          engine: 'null',
          state: 'rendering',
          secondsPerVideoSecond: 1,
          atMs: Date.now(),
          jobs: jobs.map(({ job, epoch, renderedForSeconds = 1 }) => ({
            jobId: job.jobId,
            owner: job.owner,
            epoch,
            stage: 'rendering',
            percent: 10,
            renderedForSeconds,
            deadlineSeconds: 600,
          })),
        })
      },
    }
  }

  return {
    nats,
    s3,
    operator,
    objects,
    records,
    timings,
    connectAs,
    startOrchestrator,
    crashAfterWriting,
    submit,
    announceSubmission,
    publishEvent,
    record,
    reaches,
    holdsEntry,
    sequenceOfEntry,
    pullsEntry,
    forgetEntries,
    forgetEvents,
    forgetMessageIds,
    isIdle,
    createWorker,
    async stop() {
      await Promise.all([raw.connection.close(), ...connections.map((bus) => bus.stop())])
      objects.stop()
      await Promise.all([nats.stop(), s3.stop()])
    },
  }
}

export type World = Awaited<ReturnType<typeof createWorld>>
export type Orchestrator = Awaited<ReturnType<World['startOrchestrator']>>

/** One world with its orchestrator for all tests of a file; `opened` gets both before the first. */
export function inOneWorld(opened: (them: { world: World; orchestrator: Orchestrator }) => void) {
  let stop: (() => Promise<void>) | undefined
  beforeAll(async () => {
    const world = await createWorld()
    stop = () => world.stop()
    const orchestrator = await world.startOrchestrator()
    stop = async () => {
      await orchestrator.stop()
      await world.stop()
    }
    opened({ world, orchestrator })
  }, 120_000)
  afterAll(() => stop?.())
}
