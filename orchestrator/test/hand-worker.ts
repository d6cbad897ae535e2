import { createHash, randomUUID } from 'node:crypto'
import { rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type Beat,
  claimAnswerSchema,
  contractsNumber,
  type HeldJob,
  type HelloAnswer,
  helloAnswerSchema,
  type JobRecord,
  type NextAnswer,
  type NextRequest,
  nextAnswerSchema,
  outputKey,
  type Rendered,
  type RenderOrder,
  storeAnswerSchema,
  subjects,
  type Timings,
  type Used,
} from '@avatar/contracts'
import { anEvent, aRender } from '@avatar/contracts/testing'
import { publishEvent } from '@avatar/job-kit'
import type { Bus, ObjectStore } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'

export const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

/** What a worker reports about the video that `upload` stores. */
export const renderOf = (job: JobRecord, epoch: number, difference: Partial<Rendered> = {}) =>
  aRender({
    key: outputKey(job.jobId, epoch),
    bytes: 'video'.length,
    sha256: sha256('video'),
    ...difference,
  })

/** What one ask of a worker says; by default an idle one that waits a while. */
export type Wish = Partial<Pick<NextRequest, 'pool' | 'isIdle' | 'waitMs' | 'offers'>> & {
  name?: string
}

/** A worker that a test plays by hand, with the sidecar's own permissions. */
export function handWorker(options: {
  bus: Bus
  objects: ObjectStore
  timings: Timings
  workerId: string
  incarnation: string
  pool?: string
  /** Has the orchestrator start jobs of this owner only, as long as the test does not say otherwise. */
  letOnly: (owner: string) => void
}) {
  const { bus, objects, timings, workerId, incarnation, letOnly, pool = 'l40s' } = options
  /** Asks again until it is answered, as a worker does: an orchestrator that has just started may not listen yet. */
  const request = (subject: string, body: object) =>
    until(() => bus.request(subject, body, { timeoutMs: 10_000 }))
  /** Asks once. Undefined when no answer came, or only a failure. */
  async function ask(wish: Wish = {}): Promise<NextAnswer | undefined> {
    const { name = randomUUID(), waitMs = timings.askParkMs, ...about } = wish
    const worker = { workerId, incarnation, pool, secondsPerVideoSecond: 1, isIdle: true }
    const timeoutMs = waitMs + timings.askExtraMs
    const body = { ...worker, ...about, ask: name, waitMs }
    return nextAnswerSchema.safeParse(
      await bus.request(subjects.next(body.pool), body, { timeoutMs }),
    ).data
  }
  const about = ({ jobId, owner }: JobRecord, epoch: number) => ({
    ...{ jobId, owner, epoch, revision: 0, atMs: Date.now(), workerId },
  })

  return {
    bus,
    ask,
    /** Asks under one name until an answer comes, as a worker does. */
    asks: (wish: Wish = {}) => {
      const name = wish.name ?? randomUUID()
      return until(() => ask({ ...wish, name }), { what: 'an answer' })
    },
    /** Asks until it gets this job, of whose owner no other job waits. */
    takes: ({ jobId, owner }: JobRecord, name: string = randomUUID()): Promise<RenderOrder> =>
      until(
        async () => {
          letOnly(owner)
          const answer = await ask({ name })
          return answer?.answer === 'render' && answer.jobId === jobId && answer
        },
        { what: `${jobId} to be claimed` },
      ),
    /** Says hello until it is answered, as a worker does before it loads its engine. */
    async hello(wakeId?: string): Promise<HelloAnswer> {
      const body = { workerId, incarnation, pool, contracts: contractsNumber }
      const about = wakeId === undefined ? body : { ...body, wakeId }
      const answer = await until(
        async () => {
          const told = await bus.request(subjects.hello(pool), about, { timeoutMs: 1_000 })
          return helloAnswerSchema.safeParse(told).data
        },
        { what: 'an answer to hello' },
      )
      return answer
    },
    async freshUrls({ jobId, owner }: JobRecord, epoch: number) {
      const body = { jobId, owner, workerId, incarnation, epoch }
      return claimAnswerSchema.parse(await request(subjects.claim(pool), body))
    },
    async store({ jobId, owner }: JobRecord, epoch: number, content = 'video') {
      const file = { bytes: content.length, sha256: sha256(content) }
      const body = { jobId, owner, workerId, epoch, ...file }
      return storeAnswerSchema.parse(await request(subjects.store(pool), body))
    },
    reports: (
      type: 'started' | 'released' | 'cancelled' | 'failed',
      job: JobRecord,
      epoch: number,
      used?: Used,
    ) =>
      publishEvent(bus, anEvent(`render.${type}`, { ...about(job, epoch), ...(used && { used }) })),
    /** Its render process has died. */
    dies: (job: JobRecord, epoch: number) =>
      publishEvent(
        bus,
        anEvent('render.failed', { ...about(job, epoch), code: 'RENDER_PROCESS_DIED' }),
      ),
    async upload(job: JobRecord, epoch: number, content = 'video') {
      const path = join(tmpdir(), `avatar-${randomUUID()}`)
      await writeFile(path, content)
      await objects.putFile(outputKey(job.jobId, epoch), path, content.length, sha256(content))
      await rm(path)
    },
    completes(job: JobRecord, epoch: number, difference: Partial<Rendered> = {}, used?: Used) {
      const rendered = renderOf(job, epoch, difference)
      const told = { ...about(job, epoch), rendered, ...(used && { used }) }
      return publishEvent(bus, anEvent('render.completed', told))
    },
    sendsHeartbeat(
      jobs: ({ job: JobRecord; epoch: number } & Partial<HeldJob>)[],
      difference: Partial<Beat> = {},
    ) {
      const beat: Beat = {
        workerId,
        incarnation,
        engine: 'null',
        state: 'rendering',
        secondsPerVideoSecond: 1,
        pool,
        atMs: Date.now(),
        jobs: jobs.map(({ job: { jobId, owner }, epoch, ...more }) => ({
          ...{ jobId, owner, epoch, stage: 'rendering', percent: 10 },
          ...{ renderedForSeconds: 1, deadlineSeconds: 600, ...more },
        })),
        ...difference,
      }
      bus.publishCore(subjects.beat(workerId), beat)
    },
    /** Collects the stop orders to this worker from now on. */
    async collectStopOrders() {
      const orders: unknown[] = []
      bus.subscribe(subjects.stop(workerId), (message) => {
        orders.push(message.json())
      })
      await bus.ping(1_000)
      return orders
    },
  }
}
