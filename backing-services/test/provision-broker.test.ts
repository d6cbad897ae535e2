import {
  buckets,
  limits,
  rateStateSchema,
  schemaKey,
  schemaNumber,
  schemaRecordSchema,
  timings,
} from '@avatar/contracts'
import { DiscardPolicy, jetstream, RetentionPolicy } from '@nats-io/jetstream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { planProvisioning, provisionBroker } from '../src/index.ts'
import { createTestNats, type TestNats } from '../testing/index.ts'

let nats: TestNats
let raw: Awaited<ReturnType<TestNats['connectRawAs']>>

beforeAll(async () => {
  nats = await createTestNats()
  await nats.start()
  raw = await nats.connectRawAs('operator')
})

afterAll(async () => {
  await raw.connection.close()
  await nats.stop()
})

describe('provisioning', () => {
  it('may be repeated and then changes only what differs', async () => {
    await provisionBroker(nats.operator, { ...timings, handlerAckWaitMs: 7_000 })
    const { config } = await raw.manager.consumers.info('EVENTS', 'orchestrator')
    expect(config.ack_wait).toBe(7_000_000_000)
    expect(config.max_deliver).toBe(-1)
    await provisionBroker(nats.operator, timings)
    const stream = (await raw.manager.streams.info('SCHED')).config
    expect(stream).toMatchObject({
      max_bytes: -1,
      max_age: 0,
      max_msgs: -1,
      retention: 'workqueue',
    })
    expect((await raw.manager.streams.info('KV_job')).config.max_msg_size).toBe(
      limits.recordMaxBytes,
    )
  })

  it('makes a bucket that forgets its oldest values instead of refusing new ones', async () => {
    await provisionBroker(nats.operator, timings)
    const { config } = await raw.manager.streams.info('KV_rate')
    expect(config).toMatchObject({ storage: 'memory', discard: 'old', max_age: 900_000_000_000 })
    await raw.manager.streams.update('KV_rate', { ...config, max_bytes: 20_000 })
    const bus = await nats.connectAs('operator')
    const rate = await bus.records(buckets.rate, rateStateSchema)
    for (let n = 0; n < 300; n++) await rate.create(`ip-${n}.auth`, { tatMs: n })
    expect((await rate.find('ip-299.auth'))?.value).toEqual({ tatMs: 299 })
    expect(await rate.find('ip-0.auth')).toBeUndefined()
    await bus.stop()
  })

  it('lets the records of an older version grow to the size of ours', async () => {
    await provisionBroker(nats.operator, timings)
    const { config } = await raw.manager.streams.info('KV_job')
    await raw.manager.streams.update('KV_job', { ...config, max_msg_size: 1_000 })
    await provisionBroker(nats.operator, timings)
    const { max_msg_size } = (await raw.manager.streams.info('KV_job')).config
    expect(max_msg_size).toBe(limits.recordMaxBytes)
  })

  it('gives a stream of an older version its new rules, and drops no message and no room', async () => {
    const { streams } = raw.manager
    const client = jetstream(raw.connection)
    await provisionBroker(nats.operator, timings)
    const { config } = await streams.info('EVENTS')
    const older = { ...config, discard: DiscardPolicy.Old, max_bytes: 20 * 2 ** 30 }
    await streams.update('EVENTS', { ...older, max_age: 30 * 86_400_000_000_000 })
    await streams.update('INTAKE', { ...(await streams.info('INTAKE')).config, max_bytes: -1 })
    await client.publish('evt.job.queued.x', 'kept')
    const before = (await streams.info('EVENTS')).state
    await provisionBroker(nats.operator, timings)
    const after = await streams.info('EVENTS')
    expect(after.config).toMatchObject({
      discard: 'new',
      max_bytes: 20 * 2 ** 30,
      max_age: 30 * 86_400_000_000_000,
    })
    expect(after.state).toMatchObject({ messages: before.messages, last_seq: before.last_seq })
    expect((await streams.info('INTAKE')).config.max_bytes).toBe(-1)
  })
})

describe('a full event stream', () => {
  it('refuses events and drops none, so that a consumer that was stopped handles every one', async () => {
    const { streams } = raw.manager
    const client = jetstream(raw.connection)
    const { config, state } = await streams.info('EVENTS')
    await streams.update('EVENTS', { ...config, max_bytes: state.bytes + 20_000 })
    const accepted: string[] = []
    const publish = async () => {
      const subject = `evt.job.submitted.${accepted.length}`
      await client.publish(subject, 'x'.repeat(500))
      accepted.push(subject)
    }
    const fill = async () => {
      for (;;) await publish()
    }
    await expect(fill()).rejects.toMatchObject({ code: 10_077 })
    expect(accepted.length).toBeGreaterThan(20)

    const consumer = await client.consumers.get('EVENTS', 'orchestrator')
    const handled: string[] = []
    const handleAll = async (count: number) => {
      for await (const message of await consumer.fetch({ max_messages: count, expires: 10_000 })) {
        handled.push(message.subject)
        message.ack()
      }
    }
    await handleAll(accepted.length)
    // Handled or not, a fact keeps its place until it is old enough.
    await expect(publish()).rejects.toMatchObject({ code: 10_077 })
    await streams.update('EVENTS', config)
    await publish()
    await handleAll(1)
    expect(handled).toEqual(accepted)
  })
})

describe('a plan', () => {
  // Tests before these have left wider streams behind.
  beforeAll(() => provisionBroker(nats.operator, timings, { wider: 'shrink' }))

  it('has nothing to do once everything is provisioned', async () => {
    await provisionBroker(nats.operator, timings, { publishers: ['acme'] })
    expect(await provisionBroker(nats.operator, timings, { publishers: ['acme'] })).toEqual([])
    expect(await planProvisioning(nats.operator, timings, { publishers: ['acme'] })).toEqual([])
  })

  it('that was made a moment ago is not made again', async () => {
    const other = { ...timings, handlerAckWaitMs: 7_000 }
    const plan = await planProvisioning(nats.operator, other)
    expect(plan.length).toBeGreaterThan(0)
    const done = await provisionBroker(nats.operator, other, { plan, wider: 'shrink' })
    expect(done).toBe(plan)
    expect(await planProvisioning(nats.operator, other)).toEqual([])
    await provisionBroker(nats.operator, timings)
  })

  it('refuses what would delete messages, and changes nothing before that', async () => {
    await provisionBroker(nats.operator, timings)
    const { streams } = raw.manager
    const { config } = await streams.info('DLQ')
    const older = { ...config, max_bytes: 2 * config.max_bytes, description: 'older' }
    await streams.update('DLQ', older)
    const refused = provisionBroker(nats.operator, timings, { wider: 'refuse' })
    await expect(refused).rejects.toMatchObject({
      changes: [{ kind: 'shrink', what: 'stream DLQ', fields: [{ field: 'max_bytes' }] }],
    })
    expect((await streams.info('DLQ')).config).toMatchObject(older)

    await provisionBroker(nats.operator, timings, { wider: 'keep' })
    const kept = { description: config.description, max_bytes: older.max_bytes }
    expect((await streams.info('DLQ')).config).toMatchObject(kept)

    await provisionBroker(nats.operator, timings, { wider: 'shrink' })
    expect((await streams.info('DLQ')).config.max_bytes).toBe(config.max_bytes)
  })

  it('refuses what the broker cannot change, whatever it may delete', async () => {
    const { streams } = raw.manager
    const { config } = await streams.info('DLQ')
    await streams.delete('DLQ')
    await streams.add({ ...config, retention: RetentionPolicy.Interest })
    const refused = provisionBroker(nats.operator, timings, { wider: 'shrink' })
    await expect(refused).rejects.toMatchObject({
      changes: [{ kind: 'impossible', what: 'stream DLQ', fields: [{ field: 'retention' }] }],
    })
    await streams.delete('DLQ')
    await provisionBroker(nats.operator, timings)
  })

  it('notes the number of the layout, and never a lower one', async () => {
    const bus = await nats.connectAs('operator')
    const meta = await bus.records(buckets.meta, schemaRecordSchema)
    await provisionBroker(nats.operator, timings, { release: '1.2.3' })
    const noted = await meta.find(schemaKey)
    expect(noted?.value).toEqual({ number: schemaNumber, release: '1.2.3' })
    const later = { number: schemaNumber + 1, release: '2.0.0' }
    await meta.update(schemaKey, later, noted?.revision ?? 0)
    await provisionBroker(nats.operator, timings, { release: '1.2.3' })
    expect((await meta.find(schemaKey))?.value).toEqual(later)
    await bus.stop()
  })
})
