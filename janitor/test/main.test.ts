import { randomUUID } from 'node:crypto'
import { provisionBroker } from '@avatar/backing-services'
import { createTestNats, createTestS3, freePorts } from '@avatar/backing-services/testing'
import { buckets, jobKey, jobRecordSchema, scaledTimings, subjects } from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import { type Bus, createObjectStore } from '@avatar/service-kit'
import { runMain, until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { putHello } from './put-hello.ts'

const nats = await createTestNats()
const s3 = await createTestS3()
const objects = createObjectStore(s3)
let operator: Bus

beforeAll(async () => {
  await Promise.all([nats.start(), s3.start()])
  operator = await nats.connectAs('operator')
  await provisionBroker(nats.operator, scaledTimings(1))
})

afterAll(async () => {
  await operator.stop()
  objects.stop()
  await Promise.all([nats.stop(), s3.stop()])
})

it('starts from its environment alone, deletes, counts, and stops in order at a signal', async () => {
  const [port = 0] = await freePorts(1)
  const main = runMain(() => import('../src/main.ts'), {
    NATS_URL: nats.url,
    NATS_USER: 'janitor',
    NATS_PASSWORD: nats.passwords.janitor,
    S3_ENDPOINT: s3.endpoint,
    R2_ACCESS_KEY_ID: s3.accessKeyId,
    R2_SECRET_ACCESS_KEY: s3.secretAccessKey,
    R2_BUCKET_NAME: s3.bucket,
    METRICS_PORT: String(port),
    VIDEO_RETENTION_HOURS: '0.5',
    LOG_LEVEL: 'silent',
  })
  const job = aJob({ jobId: randomUUID(), state: 'failed', expiresAtMs: Date.now() })
  const records = await operator.records(buckets.job, jobRecordSchema)
  await records.create(jobKey(job.owner, job.jobId), job)
  await putHello(objects, `jobs/${job.jobId}/input/a.wav`)

  const due = { jobId: job.jobId, owner: job.owner }
  const [from, to] = [subjects.scheduledDeletion(job.jobId), subjects.dueDeletion(job.jobId)]
  await operator.schedule(from, to, Date.now(), due)
  await until(() => operator.lastMessage('EVENTS', subjects.event('job.deleted', job.jobId)), {})
  expect(await objects.head(`jobs/${job.jobId}/input/a.wav`)).toBeUndefined()
  // By the timer or by the first sweep, whichever came first.
  await until(async () => {
    const scraped = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
    return /infinitetalk_objects_deleted_total(\{.*\})? 1\n/.test(scraped)
  })
  expect(await main.stop('SIGINT')).toBe(0)
})
