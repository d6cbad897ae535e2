import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type FailureCode, limits } from '@avatar/contracts'
import { until } from '@avatar/service-kit/testing'
import sharp from 'sharp'
import { afterAll, describe, expect, it } from 'vitest'
import { blackPng, ffmpeg, garbageMp3, lieAboutFrames, makeMp3, wav } from './media-fixtures.ts'
import { createMediaWorld } from './media-world.ts'
import { portrait, type RestWorld, useRestWorld, voice } from './rest-world.ts'

const world = useRestWorld()
const files = await createMediaWorld()

afterAll(async () => {
  // Whatever clients send, it is no fault of ours.
  expect(world.logged('request failed')).toEqual([])
  await files.close()
})

type Parts = Parameters<RestWorld['generate']>[0]
type Refused = { error: { code: string; message: string; details: object }; meta: object }

/** The bytes of an upload that ffmpeg makes. */
async function made(make: (path: string) => Promise<void>): Promise<Buffer> {
  const path = join(files.outDir, 'made')
  await make(path)
  return readFile(path)
}

const lying = (seconds: number, claimedFrames: number) =>
  made(async (path) => {
    await makeMp3(path, seconds, ['-ac', '1', '-q:a', '9'])
    await lieAboutFrames(path, claimedFrames)
  })

const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="200"/>'
const size = (bytes: number) => new Uint8Array(bytes)

const refusals: [string, number, FailureCode, () => Parts | Promise<Parts>][] = [
  ['an SVG named .png', 400, 'INVALID_IMAGE_FORMAT', () => ({ image: Buffer.from(svg) })],
  ['a voice as the portrait', 400, 'INVALID_IMAGE_FORMAT', () => ({ image: voice })],
  ['half a JPEG', 400, 'IMAGE_UNREADABLE', () => ({ image: portrait.subarray(0, 20_000) })],
  ['no bytes as the portrait', 400, 'IMAGE_UNREADABLE', () => ({ image: size(0) })],
  ['a PNG of 16000²', 400, 'IMAGE_DIMENSIONS', () => ({ image: blackPng(16_000, 16_000) })],
  ['a PNG of 1×1', 400, 'IMAGE_DIMENSIONS', () => ({ image: blackPng(1, 1) })],
  ['a portrait as the voice', 400, 'INVALID_AUDIO_FORMAT', () => ({ audio: portrait })],
  ['no bytes as the voice', 400, 'AUDIO_UNREADABLE', () => ({ audio: size(0) })],
  ['a WAV without samples', 400, 'AUDIO_EMPTY', () => ({ audio: wav({ seconds: 0 }) })],
  ['silence', 400, 'AUDIO_EMPTY', () => ({ audio: wav({ seconds: 3, amplitude: 0 }) })],
  ['five minutes and a second', 400, 'AUDIO_TOO_LONG', () => ({ audio: wav({ seconds: 301 }) })],
  ['garbage behind an MP3 frame', 400, 'AUDIO_UNREADABLE', () => ({ audio: garbageMp3() })],
  [
    'an MP3 that claims 5 s and holds 35 s',
    400,
    'AUDIO_UNREADABLE',
    async () => ({ audio: await lying(35, 193) }),
  ],
  [
    'an MP3 that claims 5 s and holds more than 5 minutes',
    400,
    'AUDIO_TOO_LONG',
    async () => ({ audio: await lying(301, 193) }),
  ],
  [
    'silence as MP3',
    400,
    'AUDIO_EMPTY',
    async () => ({
      audio: await made((path) =>
        ffmpeg(['-f', 'lavfi', '-i', 'anullsrc=d=3', '-c:a', 'libmp3lame', '-f', 'mp3', path]),
      ),
    }),
  ],
  ['no portrait', 400, 'IMAGE_MISSING', () => ({ image: undefined })],
  ['no voice', 400, 'AUDIO_MISSING', () => ({ audio: undefined })],
  [
    'a byte too much of portrait',
    413,
    'IMAGE_TOO_LARGE',
    () => ({ image: size(limits.imageMaxBytes + 1) }),
  ],
  [
    'a byte too much of voice',
    413,
    'AUDIO_TOO_LARGE',
    () => ({ audio: size(limits.audioMaxBytes + 1) }),
  ],
  [
    'a prompt of 2,001 characters',
    400,
    'INVALID_REQUEST',
    () => ({ fields: { prompt: '🙂'.repeat(2_001) } }),
  ],
  ['a NUL in the prompt', 400, 'INVALID_REQUEST', () => ({ fields: { prompt: 'a\0b' } })],
  ['a seed that is no number', 400, 'INVALID_REQUEST', () => ({ fields: { seed: 'many' } })],
  ['a seed below zero', 400, 'INVALID_REQUEST', () => ({ fields: { seed: '-1' } })],
  ['a priority that is none', 400, 'INVALID_REQUEST', () => ({ fields: { priority: 'low' } })],
  ['a seed that is not whole', 400, 'INVALID_REQUEST', () => ({ fields: { seed: '1.5' } })],
  ['an unknown field', 400, 'INVALID_REQUEST', () => ({ fields: { colour: 'blue' } })],
]

/** A portrait so large that the voice is stored long before its last lines turn out to be missing. */
const lateFault = async () => {
  const noise = Buffer.alloc(3_000 * 3_000 * 3)
  for (let at = 0; at < noise.length; at++) noise[at] = (at * 2_654_435_761) >>> 24
  const raw = { width: 3_000, height: 3_000, channels: 3 } as const
  const jpeg = await sharp(noise, { raw }).jpeg({ quality: 60 }).toBuffer()
  return jpeg.subarray(0, -5_000)
}

describe('a refused upload', () => {
  it('leaves nothing of its voice when that was stored already', async () => {
    const before = await world.traces()
    const image = await lateFault()
    let wasStored = false
    // The moment between storing and refusing is short: a busy machine may miss it a few times.
    for (let tries = 0; tries < 10 && !wasStored; tries++) {
      let isRefused = false
      const refusing = world.generate({ image }).finally(() => {
        isRefused = true
      })
      while (!isRefused && !wasStored)
        wasStored = (await world.traces()).stored.length > before.stored.length
      expect((await refusing).status).toBe(400)
      expect(await world.traces()).toEqual(before)
    }
    expect(wasStored).toBe(true)
  })

  it.each(refusals)(
    'answers with the reason and leaves nothing behind: %s',
    async (_what, status, code, parts) => {
      // An upload that succeeded before is answered before its folder is removed.
      await until(async () => (await world.traces()).spooled.length === 0)
      const before = await world.traces()
      const answer = await world.generate(await parts())
      const { error, meta } = answer.body as unknown as Refused
      expect([answer.status, error.code]).toEqual([status, code])
      expect(error.message.length).toBeGreaterThan(10)
      expect(error.details).toBeTypeOf('object')
      expect(meta).toEqual({ request_id: answer.headers.get('x-request-id') })
      expect(answer.headers.get('content-type')).toMatch(/^application\/json/)
      expect(answer.headers.get('retry-after')).toBeNull()
      expect(await world.traces()).toEqual(before)
    },
  )

  it('is read to its end although its key is invalid, so that the client can read the 401', async () => {
    const parts = { audio: size(limits.audioMaxBytes) }
    const answer = await world.generate(parts, { authorization: 'Bearer nonsense' })
    expect(answer.status).toBe(401)
    expect(answer.headers.get('www-authenticate')).toBe('Bearer')
  })

  it('is not one at the limits: 2,000 characters of four bytes, the largest seed, half a second', async () => {
    const fields = { prompt: '🙂'.repeat(2_000), seed: String(limits.seedMax) }
    const answer = await world.generate({ fields, audio: wav({ seconds: 0.5 }) })
    expect(answer.status).toBe(201)
    expect(answer.body['meta']).toMatchObject({ warnings: [{ code: 'AUDIO_SHORT' }] })
    const { job_id } = answer.body['data'] as unknown as { job_id: string }
    expect((await world.call(`/status/${job_id}`)).status).toBe(200)
  })

  it('keeps its warnings: a repeated request and the status show them again', async () => {
    const headers = { 'idempotency-key': 'warned' }
    const parts = { audio: wav({ seconds: 0.5 }) }
    const first = await world.generate(parts, headers)
    const again = await world.generate(parts, headers)
    expect([first.status, again.status]).toEqual([201, 200])
    const { warnings } = first.body['meta'] as unknown as { warnings: unknown }
    expect(again.body['meta']).toMatchObject({ warnings })
    const { job_id } = again.body['data'] as unknown as { job_id: string }
    const status = await world.call(`/status/${job_id}`)
    expect(status.body['data']).toMatchObject({ warnings })
  })
})
