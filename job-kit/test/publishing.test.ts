import { randomUUID } from 'node:crypto'
import { provisionBroker } from '@avatar/backing-services'
import { createTestNats } from '@avatar/backing-services/testing'
import { type Notification, scaledTimings, subjects } from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import type { Bus } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { deletedEvent, factOf, publishEvent, publishNotification } from '../src/index.ts'

let nats: Awaited<ReturnType<typeof createTestNats>>
let bus: Bus

beforeAll(async () => {
  nats = await createTestNats()
  await nats.start()
  await provisionBroker(nats.operator, scaledTimings(1))
  bus = await nats.connectAs('operator')
})

afterAll(async () => {
  await bus.stop()
  await nats.stop()
})

const deletionOf = (epoch: number, atMs = 1) =>
  deletedEvent(factOf(aJob({ jobId: randomUUID(), epoch }), 1, atMs), [])

describe('an event', () => {
  it('is stored on the subject of its type and job, and carries the trace', async () => {
    const event = deletionOf(1)
    const { traceparent } = aJob()
    const received: unknown[] = []
    const subscription = bus.subscribe('evt.job.deleted.*', (message) => {
      received.push([message.subject, message.traceparent, message.json()])
    })
    await bus.ping(1_000)
    await publishEvent(bus, event, { traceparent })
    await until(() => received.length > 0)
    expect(received).toEqual([[`evt.job.deleted.${event.jobId}`, traceparent, event]])
    subscription.stop()
  })

  it('is stored once per attempt, however often it is published', async () => {
    const first = deletionOf(1)
    const again = { ...first, revision: 9, atMs: 2 }
    const ofNextAttempt = { ...first, epoch: 2 }
    for (const event of [first, again, ofNextAttempt]) await publishEvent(bus, event)
    const stored = await bus.readStream('EVENTS', subjects.event(first.type, first.jobId), 1, 9)
    expect(stored.map(({ body }) => body)).toEqual([first, ofNextAttempt])
  })
})

describe('a notification', () => {
  it('is stored once per job and status, or once per instance', async () => {
    const note: Notification = {
      job_id: randomUUID(),
      status: 'rejected',
      at: new Date(0).toISOString(),
    }
    for (const instance of [undefined, undefined, 7, 8, 8])
      await publishNotification(bus, 'acme', note, instance === undefined ? {} : { instance })
    const subject = subjects.notify('acme', 'rejected')
    expect(await bus.readStream('NOTIFY', subject, 1, 9)).toHaveLength(3)
  })
})
