import { request } from 'node:http'
import { until } from '@avatar/service-kit/testing'
import fc from 'fast-check'
import sharp from 'sharp'
import { afterAll, describe, expect, it } from 'vitest'
import { wav } from './media-fixtures.ts'
import { portrait, useRestWorld } from './rest-world.ts'

const world = useRestWorld()
const image = await sharp(portrait).resize(160, 160).jpeg().toBuffer()
const audio = wav({ seconds: 0.5 })

// Whatever clients send, it is no fault of ours.
afterAll(() => expect(world.logged('request failed')).toEqual([]))

/** Sends a raw body and returns the status of the answer. */
function post(body: Buffer): Promise<number | 'closed'> {
  return new Promise((resolve) => {
    const outgoing = request(
      `${world.url}/generate`,
      {
        method: 'POST',
        headers: { ...world.mine.headers, 'content-type': 'multipart/form-data; boundary=edge' },
      },
      (response) => {
        response.resume()
        response.on('end', () => resolve(response.statusCode ?? 0))
      },
    )
    outgoing.on('error', () => resolve('closed'))
    outgoing.end(body)
  })
}

function multipart(parts: { image: Buffer; audio: Buffer }): Buffer {
  const head = (name: string) =>
    `--edge\r\ncontent-disposition: form-data; name="${name}"; filename="${name}"\r\n\r\n`
  return Buffer.concat([
    Buffer.from(head('image')),
    parts.image,
    Buffer.from(`\r\n${head('audio')}`),
    parts.audio,
    Buffer.from(
      '\r\n--edge\r\ncontent-disposition: form-data; name="prompt"\r\n\r\nhi\r\n--edge--\r\n',
    ),
  ])
}

/** A few bytes overwritten, removed or inserted, at positions given as fractions of the length. */
const cuts = fc.array(
  fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    removed: fc.integer({ min: 0, max: 40 }),
    put: fc.uint8Array({ maxLength: 20 }),
  }),
  { minLength: 1, maxLength: 6 },
)

function mangled(bytes: Buffer, how: { at: number; removed: number; put: Uint8Array }[]): Buffer {
  return how.reduce((sofar, { at, removed, put }) => {
    const from = Math.floor(at * sofar.length)
    return Buffer.concat([sofar.subarray(0, from), put, sofar.subarray(from + removed)])
  }, bytes)
}

const allowed = [201, 400, 413]

describe('an upload that is damaged at random', () => {
  it('in its media is accepted or refused, and never an error of ours', async () => {
    await fc.assert(
      fc.asyncProperty(cuts, cuts, async (inImage, inAudio) => {
        const body = multipart({ image: mangled(image, inImage), audio: mangled(audio, inAudio) })
        expect(allowed).toContain(await post(body))
      }),
      { numRuns: 60 },
    )
    await until(async () => (await world.spooled()).length === 0)
  }, 120_000)

  it('in its form is accepted or refused, and never an error of ours', async () => {
    const whole = multipart({ image: image.subarray(0, 300), audio: audio.subarray(0, 300) })
    await fc.assert(
      fc.asyncProperty(cuts, async (how) => {
        expect(allowed).toContain(await post(mangled(whole, how)))
      }),
      { numRuns: 300 },
    )
    await until(async () => (await world.spooled()).length === 0)
  }, 120_000)
})
