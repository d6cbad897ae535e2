import { limits, type OwnerLimits } from '@avatar/contracts'
import type { Bus } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { beforeAll, describe, expect, it } from 'vitest'
import { portrait, useRestWorld, voice } from './rest-world.ts'

const ofAcme: OwnerLimits = {}
const world = useRestWorld({ limitsOf: (owner) => (owner === 'acme' ? ofAcme : {}) })
const publishers: Record<string, Bus> = {}

beforeAll(async () => {
  for (const name of ['acme', 'other'] as const) {
    publishers[name] = await world.connectAs(name)
    await world.putObject(`intake/${name}/face.jpg`, portrait)
    await world.putObject(`intake/${name}/voice.wav`, voice)
  }
})

const submit = (name: string) =>
  publishers[name]?.publish(`intake.${name}.job.submitted`, {
    image_key: `intake/${name}/face.jpg`,
    audio_key: `intake/${name}/voice.wav`,
  })
const jobsOf = (owner: string) => world.board.listOf(owner, undefined, 10_000).length
const waiting = async () => (await world.operator.streamState('INTAKE')).messages

describe('the events of a publisher', () => {
  it('over its rate wait for their turn, and all of them become jobs', async () => {
    Object.assign(ofAcme, { submitsPerMinute: 60, submitBurst: 2 })
    for (let n = 0; n < 5; n++) await submit('acme')
    await until(async () => jobsOf('acme') === 5 && (await waiting()) === 0)
    expect((await world.operator.streamState('DLQ')).messages).toBe(0)
    expect((await world.operator.streamState('NOTIFY')).messages).toBe(0)
    expect(world.logged('message failed, it will be redelivered')).toEqual([])
  })

  it('keep no other publisher waiting, however many of them wait', async () => {
    Object.assign(ofAcme, { submitsPerMinute: 1, submitBurst: 1 })
    while ((await submit('acme')) !== 'exists'); // Until its room is used up.
    await submit('other')
    await until(() => jobsOf('other') === 1, { timeoutMs: 2_000 })
    expect(await waiting()).toBeGreaterThan(limits.waitingPerPublisher - 3)
    const consumer = await world.raw.manager.consumers.info('INTAKE', 'ingest')
    expect(consumer.num_ack_pending).toBeGreaterThan(limits.waitingPerPublisher - 3)
    // They take the tokens that requests over HTTP would.
    const state = await world.raw.manager.direct.getMessage('KV_rate', {
      last_by_subj: '$KV.rate.acme.submit',
    })
    expect(state?.json()).toEqual({ tatMs: expect.any(Number) })
  })
})
