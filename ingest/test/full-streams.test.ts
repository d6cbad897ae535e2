import { until } from '@avatar/service-kit/testing'
import { describe, expect, it } from 'vitest'
import { portrait, useRestWorld, voice } from './rest-world.ts'

const world = useRestWorld({ divisor: 10 })

/** Runs `work` while a stream refuses messages, because its limit is its present size. */
async function whileFull(stream: string, work: () => Promise<void>) {
  const { streams } = world.raw.manager
  const { config, state } = await streams.info(stream)
  await streams.update(stream, { max_bytes: Math.max(1, state.bytes), discard: 'new' })
  try {
    await work()
  } finally {
    const { max_bytes, discard } = config
    await streams.update(stream, { max_bytes, discard })
  }
}

async function health() {
  const { status, headers, body } = await world.call('/health')
  const { full_streams } = body['data'] as unknown as { full_streams: string[] }
  return { status, full_streams, retryAfter: headers.get('retry-after') }
}

const isHealthy = async () => {
  const { status, full_streams } = await health()
  return status === 200 && full_streams.length === 0
}

describe('a full stream', () => {
  it.each(['EVENTS', 'KV_job'])(
    '%s makes /health and submissions a 503 and leaves nothing behind',
    async (stream) => {
      expect((await world.generate()).status).toBe(201)
      await until(async () => (await world.traces()).spooled.length === 0)
      const before = await world.traces()
      await whileFull(stream, async () => {
        await until(async () => !(await isHealthy()))
        expect(await health()).toEqual({ status: 503, full_streams: [stream], retryAfter: '2' })
        const { body: told } = await world.call('/health')
        const { problems } = told['data'] as unknown as { problems: string[] }
        expect(problems).toEqual([expect.stringContaining(`The stream ${stream}`)])
        const { status, body } = await world.generate()
        const error = {
          code: 'BROKER_UNAVAILABLE',
          message: expect.stringContaining('The queue is full'),
          details: { problem: 'stream_full', streams: [stream] },
        }
        expect([status, body['error']]).toMatchObject([503, error])
        expect(await world.traces()).toEqual(before)
      })
      await until(isHealthy)
      expect((await world.generate()).status).toBe(201)
    },
  )

  it('makes an event of another service wait', async () => {
    const image_key = 'intake/acme/face.jpg'
    const audio_key = 'intake/acme/voice.wav'
    await world.putObject(image_key, portrait)
    await world.putObject(audio_key, voice)
    const acme = await world.connectAs('acme')
    const before = await world.traces()
    await whileFull('EVENTS', async () => {
      await until(async () => !(await isHealthy()))
      await acme.publish('intake.acme.job.submitted', { image_key, audio_key })
      // More often than the failures that would dead-letter it.
      await until(() => world.logged('message failed, it will be redelivered').length > 5)
      expect((await world.traces()).stored).toEqual(before.stored)
    })
    await until(() => world.board.listOf('acme', undefined, 1).length === 1)
  })

  it('is named and changes nothing else when no submission needs it', async () => {
    await whileFull('INTAKE', async () => {
      await until(async () => !(await isHealthy()))
      expect(await health()).toEqual({ status: 200, full_streams: ['INTAKE'], retryAfter: null })
      expect((await world.generate()).status).toBe(201)
    })
    await until(isHealthy)
  })
})
