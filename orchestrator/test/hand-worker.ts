import { createHash, randomUUID } from 'node:crypto'
import { rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type Beat,
  claimAnswerSchema,
  type JobRecord,
  outputKey,
  type Rendered,
  storeAnswerSchema,
  subjects,
} from '@avatar/contracts'
import { anEvent, aRender } from '@avatar/contracts/testing'
import { publishEvent } from '@avatar/job-kit'
import type { Bus, ObjectStore } from '@avatar/service-kit'

export const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

/** What a worker reports about the video that `upload` stores. */
export const renderOf = (job: JobRecord, epoch: number, difference: Partial<Rendered> = {}) =>
  aRender({
    key: outputKey(job.jobId, epoch),
    bytes: 'video'.length,
    sha256: sha256('video'),
    ...difference,
  })

/** A worker that a test plays by hand, with the sidecar's own permissions. */
export function handWorker(options: {
  bus: Bus
  objects: ObjectStore
  workerId: string
  incarnation: string
}) {
  const { bus, objects, workerId, incarnation } = options
  const ask = (subject: string, body: object) => bus.request(subject, body, { timeoutMs: 10_000 })
  const about = ({ jobId, owner }: JobRecord, epoch: number) => ({
    ...{ jobId, owner, epoch, revision: 0, atMs: Date.now(), workerId },
  })

  return {
    bus,
    async claim({ jobId, owner }: JobRecord) {
      const request = { jobId, owner, workerId, incarnation, secondsPerVideoSecond: 1 }
      return claimAnswerSchema.parse(await ask(subjects.claim, request))
    },
    async store({ jobId, owner }: JobRecord, epoch: number, content = 'video') {
      const file = { bytes: content.length, sha256: sha256(content) }
      const request = { jobId, owner, workerId, epoch, ...file }
      return storeAnswerSchema.parse(await ask(subjects.store, request))
    },
    reports: (
      type: 'started' | 'released' | 'cancelled' | 'failed',
      job: JobRecord,
      epoch: number,
    ) => publishEvent(bus, anEvent(`render.${type}`, about(job, epoch))),
    async upload(job: JobRecord, epoch: number, content = 'video') {
      const path = join(tmpdir(), `avatar-${randomUUID()}`)
      await writeFile(path, content)
      await objects.putFile(outputKey(job.jobId, epoch), path, content.length, sha256(content))
      await rm(path)
    },
    completes(job: JobRecord, epoch: number, difference: Partial<Rendered> = {}) {
      const rendered = renderOf(job, epoch, difference)
      return publishEvent(bus, anEvent('render.completed', { ...about(job, epoch), rendered }))
    },
    sendsHeartbeat(jobs: { job: JobRecord; epoch: number; renderedForSeconds?: number }[]) {
      const beat: Beat = {
        workerId,
        incarnation,
        engine: 'null',
        state: 'rendering',
        secondsPerVideoSecond: 1,
        atMs: Date.now(),
        jobs: jobs.map(({ job: { jobId, owner }, epoch, renderedForSeconds = 1 }) => ({
          ...{ jobId, owner, epoch, stage: 'rendering', percent: 10 },
          ...{ renderedForSeconds, deadlineSeconds: 600 },
        })),
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
