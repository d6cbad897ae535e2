import { randomUUID } from 'node:crypto'
import { provisionBroker } from '@avatar/backing-services'
import {
  type BrokerAccess,
  createTestNats,
  createTestS3,
  type TestNats,
} from '@avatar/backing-services/testing'
import {
  type AnyEvent,
  cancelAnswerSchema,
  type JobRecord,
  jobKey,
  jobPostingSchema,
  type ServiceUser,
  scaledTimings,
  subjects,
  type Timings,
} from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import { factOf, openJobRecords, plainEvent, publishEvent } from '@avatar/job-kit'
import {
  type Bus,
  type Clock,
  createBrokerClock,
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
import type { DispatchRules } from '../src/dispatch/dispatch-rules.ts'
import { createJobWriter } from '../src/records/job-writer.ts'
import type { Message } from '../src/states/decide.ts'
import { handWorker } from './hand-worker.ts'

/** How much shorter the waits are, and those that shall be otherwise. */
type WorldOptions = Partial<Timings> & {
  divisor?: number
  /** The broker in the place of one of its own, and how many copies it keeps of each stream. */
  broker?: { nats: TestBroker; replicas: number }
}
/** One broker, or several as one. */
type TestBroker = BrokerAccess &
  Pick<TestNats, 'start' | 'stop' | 'kill' | 'pid'> & { monitor?: string }

/** A broker, a store and the orchestrator in this process, with a worker that a test plays by hand. */
export async function createWorld({ divisor = 20, broker, ...changes }: WorldOptions = {}) {
  const nats: TestBroker = broker?.nats ?? (await createTestNats())
  const s3 = await createTestS3()
  await Promise.all([nats.start(), s3.start()])
  const log = createLog('test', 'silent')
  const { suspendedAfterMs, askGraceMs, askExtraMs, claimWriteMs } = scaledTimings(1)
  // A busy machine is slow for some hundred milliseconds; that is no suspension, no lost answer and no lost write.
  const real = { suspendedAfterMs, askGraceMs, askExtraMs, claimWriteMs }
  const timings = { ...scaledTimings(divisor), ...real, ...changes }
  const connections: Bus[] = []
  const connectAs = async (user: ServiceUser | 'pool-runpod', itsLog = log) => {
    const bus = await nats.connectAs(user, { log: itsLog })
    connections.push(bus)
    return bus
  }
  const operator = await connectAs('operator')
  await provisionBroker(nats.operator, timings, { replicas: broker?.replicas ?? 1 })
  const raw = await nats.connectRawAs('operator')
  const client = jetstream(raw.connection)
  const objects = createObjectStore(s3)
  const records = await openJobRecords(operator)

  /** The environment of an orchestrator. */
  const environment = {
    NATS_URL: nats.url,
    NATS_USER: 'orchestrator',
    NATS_PASSWORD: nats.passwords.orchestrator,
    S3_ENDPOINT: s3.endpoint,
    R2_ACCESS_KEY_ID: s3.accessKeyId,
    R2_SECRET_ACCESS_KEY: s3.secretAccessKey,
    R2_BUCKET_NAME: s3.bucket,
    METRICS_PORT: '0',
    VIDEO_RETENTION_HOURS: String(1 / 60),
  }

  /**
   * The owner whose jobs may start. The jobs that other tests leave behind would come first otherwise.
   */
  const only = { owner: '' }
  const holdBackOthers = (owner: string) => (owner === only.owner ? undefined : 'own_jobs')
  const letOnly = (owner: string) => {
    only.owner = owner
  }

  /** `machine` is the clock of the orchestrator's own machine. */
  async function startOrchestrator(
    machine: Clock = systemClock,
    rules: Partial<DispatchRules> | 'as configured' = {},
    variables: Readonly<Record<string, string>> = {},
  ) {
    const metrics = createMetrics('orchestrator')
    const lines: string[] = []
    const destination = { write: (line: string) => void lines.push(line) }
    const countFailure = metrics.countFailure
    const itsLog = createLog('orchestrator', 'info', { destination, countFailure })
    const bus = await connectAs('orchestrator', itsLog)
    const config = loadConfig(orchestratorConfigSchema, { ...environment, ...variables })
    const clock = createBrokerClock({ bus, clock: machine, log })
    await clock.start()
    const parts = await buildOrchestrator(
      { config, log: itsLog, bus, metrics, clock, agreement: clock, timings },
      rules === 'as configured' ? {} : { heldBack: holdBackOthers, ...rules },
    )
    for (const part of parts.start) await part.start()
    // Else the first ask of a test may find nobody who listens yet.
    await until(() => parts.start.every((part) => part.isReady?.() ?? true))
    const parsed = () => lines.map((line): Record<string, unknown> => JSON.parse(line))
    return {
      metrics,
      isReady: () => parts.start.every((part) => part.isReady?.() ?? true),
      /** Its log, each line parsed. */
      lines: parsed,
      linesAbout: ({ jobId }: Pick<JobRecord, 'jobId'>) =>
        parsed().filter((line) => line['jobId'] === jobId),
      async stop() {
        await stopInPhases(parts.stopPhases, systemClock, log)
        await clock.stop()
        await Promise.all([bus.stop(), metrics.stop()])
      },
    }
  }

  /** Leaves the record as the orchestrator would if it died before it published anything. */
  async function crashAfterWriting(job: JobRecord, message: Message) {
    const rules = { retentionMs: 60_000, minDeadlineSeconds: 600, timings }
    const writer = createJobWriter({ records, clock: systemClock, rules })
    await writer.apply(job.owner, job.jobId, message)
  }

  /** A job as ingest leaves it: its record exists and, unless a test says otherwise, it is announced. */
  async function submit({
    announce = true,
    ...difference
  }: Partial<JobRecord> & { announce?: boolean } = {}) {
    const jobId = randomUUID()
    const owner = `o_${jobId.replaceAll('-', '').slice(0, 12)}`
    const job = aJob({ jobId, owner, state: 'pending', createdAtMs: Date.now(), ...difference })
    await records.create(jobKey(job.owner, jobId), job)
    if (announce) await announceSubmission(job)
    return job
  }

  const announceSubmission = (job: JobRecord) =>
    publishAsOperator(plainEvent('job.submitted', factOf(job, 1, Date.now())))

  const publishAsOperator = (event: AnyEvent) =>
    publishEvent(operator, event, { traceparent: aJob().traceparent })

  async function queued(difference: Partial<JobRecord> = {}) {
    const job = await submit(difference)
    await reaches(job, 'queued')
    return job
  }

  async function claimed(difference: Partial<JobRecord> = {}) {
    const [worker, job] = await Promise.all([createWorker(), queued(difference)])
    const order = await worker.takes(job)
    return { worker, job, order }
  }

  async function rendering(difference: Partial<JobRecord> = {}) {
    const { worker, job } = await claimed(difference)
    await worker.reports('started', job, 1)
    await reaches(job, 'rendering')
    return { worker, job }
  }

  /** A completed job whose video is stored. */
  async function completed(difference: Partial<JobRecord> = {}) {
    const { worker, job } = await claimed(difference)
    await worker.upload(job, 1)
    await worker.completes(job, 1)
    return { worker, job, done: await reaches(job, 'completed') }
  }

  const cancel = async ({ jobId, owner }: Pick<JobRecord, 'jobId' | 'owner'>) =>
    cancelAnswerSchema.parse(
      await operator.request(subjects.cancel, { jobId, owner }, { timeoutMs: 10_000 }),
    )

  const record = async (job: JobRecord) => (await records.find(jobKey(job.owner, job.jobId)))?.value
  /** Waits for a state. A look-up that fails because the broker was killed is repeated. */
  const reaches = (job: JobRecord, state: JobRecord['state'], timeoutMs = 25_000) =>
    until(
      async () => {
        const found = await record(job).catch(() => undefined)
        return found?.state === state ? found : undefined
      },
      { timeoutMs, what: `job in state ${state}` },
    )
  const holds = async (stream: string, subject: string) =>
    (await operator.lastMessage(stream, subject)) !== undefined

  /** What the ledger says about a job. */
  const posting = async ({ jobId }: Pick<JobRecord, 'jobId'>) => {
    const posted = await operator.lastMessage('LEDGER', `ledger.job.*.*.*.${jobId}`)
    return posted && jobPostingSchema.parse(posted.body)
  }

  /** Leaves messages in a stream that its consumer takes for delivered, as a broker may that stops badly. */
  async function forget(stream: 'EVENTS', consumer: string) {
    const { state } = await raw.manager.streams.info(stream)
    await raw.connection.request(
      `$JS.API.CONSUMER.RESET.${stream}.${consumer}`,
      JSON.stringify({ seq: state.last_seq + 1 }),
    )
  }
  const forgetEvents = () => forget('EVENTS', 'orchestrator')

  /** Ends a stream's duplicate window at once, so that it does not recognise earlier message ids. */
  async function forgetMessageIds(stream: 'EVENTS') {
    const milliseconds = 1_000_000
    await raw.manager.streams.update(stream, { duplicate_window: 100 * milliseconds })
    const probe = { msgID: randomUUID() }
    await client.publish('evt.probe', '', probe)
    await until(async () => !(await client.publish('evt.probe', '', probe)).duplicate, {
      what: 'the end of the duplicate window',
    })
  }

  /** Waits until a consumer has handled and acknowledged every message. */
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

  const createWorker = async (
    workerId = 'w1',
    incarnation = 'i1',
    pool = 'l40s',
    user: ServiceUser | 'pool-runpod' = 'sidecar',
  ) =>
    handWorker({
      ...{ bus: await connectAs(user), objects, timings, workerId, incarnation, pool, letOnly },
    })

  return {
    nats,
    s3,
    operator,
    objects,
    records,
    timings,
    environment,
    raw,
    connectAs,
    startOrchestrator,
    crashAfterWriting,
    submit,
    announceSubmission,
    publishEvent: publishAsOperator,
    queued,
    claimed,
    rendering,
    completed,
    cancel,
    record,
    reaches,
    holds,
    posting,
    letOnly,
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
export function inOneWorld(
  opened: (them: { world: World; orchestrator: Orchestrator }) => void,
  options: WorldOptions & { rules?: Partial<DispatchRules> } = {},
) {
  const { rules = {}, ...changes } = options
  let stop: (() => Promise<void>) | undefined
  beforeAll(async () => {
    const world = await createWorld(changes)
    stop = () => world.stop()
    const orchestrator = await world.startOrchestrator(systemClock, rules)
    stop = async () => {
      await orchestrator.stop()
      await world.stop()
    }
    opened({ world, orchestrator })
  }, 120_000)
  afterAll(() => stop?.())
}
