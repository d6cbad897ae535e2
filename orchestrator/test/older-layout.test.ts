import { randomUUID } from 'node:crypto'
import { provisionBroker } from '@avatar/backing-services'
import { jobKey } from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import { until } from '@avatar/service-kit/testing'
import { jetstream } from '@nats-io/jetstream'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createWorld, type World } from './world.ts'

let world: World
beforeAll(async () => {
  world = await createWorld()
})
afterAll(() => world.stop())

/** The queue of an earlier version: a stream with an entry for each job, and a consumer. */
async function makeOldQueue(jobIds: readonly string[]) {
  const { streams, consumers } = world.raw.manager
  await streams.add({
    ...{ name: 'GPU', subjects: ['gpu.work.>'], retention: 'workqueue', discard: 'new' },
    ...{ max_msgs_per_subject: 1, discard_new_per_subject: true, allow_direct: true },
  })
  await consumers.add('GPU', { durable_name: 'standard-normal', ack_policy: 'explicit' })
  const client = jetstream(world.raw.connection)
  for (const jobId of jobIds) await client.publish(`gpu.work.standard.normal.${jobId}`, '{}')
}

it('takes over the data of a version that had a queue of entries: every job is given to an ask', async () => {
  const createdAtMs = Date.now()
  const jobs = [0, 1, 2].map((index) =>
    aJob({ jobId: randomUUID(), owner: `o_old${index}old00000`, createdAtMs: createdAtMs + index }),
  )
  for (const job of jobs) await world.records.create(jobKey(job.owner, job.jobId), job)
  // One of them was claimed by a worker that knew of no asks, and that is gone.
  const orphan = aJob({
    ...{ jobId: randomUUID(), createdAtMs: createdAtMs + 3, state: 'claimed', epoch: 1 },
    worker: { id: 'old', incarnation: 'i1' },
  })
  await world.records.create(jobKey(orphan.owner, orphan.jobId), orphan)
  await makeOldQueue([...jobs, orphan].map(({ jobId }) => jobId))
  await world.nats.kill()
  await world.nats.start()

  await provisionBroker(world.nats.operator, world.timings)
  // The connection of the test may still be coming back.
  const look = async () => world.raw.manager.streams.info('GPU').then(() => 'there', String)
  await until(async () => (await look()).includes('stream not found'))
  await provisionBroker(world.nats.operator, world.timings)

  const orchestrator = await world.startOrchestrator()
  const worker = await world.createWorker()
  for (const job of jobs) expect((await worker.takes(job)).epoch).toBe(1)
  expect((await worker.takes(orphan)).epoch).toBe(2)
  expect((await world.record(orphan))?.spent).toMatchObject([
    { epoch: 1, pool: 'unknown', gpuSeconds: 0, end: 'lost' },
  ])
  await orchestrator.stop()
})
