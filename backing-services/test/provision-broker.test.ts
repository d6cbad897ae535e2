import { timings } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { provisionBroker } from '../src/index.ts'
import { createTestNats, type TestNats } from '../testing/index.ts'

let nats: TestNats
let raw: Awaited<ReturnType<TestNats['connectRawAs']>>

beforeAll(async () => {
  nats = await createTestNats()
  await nats.start()
  raw = await nats.connectRawAs('operator')
}, 60_000)

afterAll(async () => {
  await raw.connection.close()
  await nats.stop()
})

describe('provisioning', () => {
  it('may be repeated and then changes only what differs', async () => {
    await provisionBroker(nats.operator, { ...timings, gpuAckWaitMs: 7_000 })
    const { config } = await raw.manager.consumers.info('GPU', 'standard-normal')
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
    expect((await raw.manager.streams.info('KV_job')).config.max_msg_size).toBe(16 * 1024)
  })
})
