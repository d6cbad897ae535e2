import { request } from 'node:http'
import { until } from '@avatar/service-kit/testing'
import fc from 'fast-check'
import sharp from 'sharp'
import { afterAll, describe, expect, it } from 'vitest'
import { wav } from './media-fixtures.ts'
import { exchange } from './raw-connection.ts'
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

/** Part headers of pieces that mean something to a parser, in any order. */
const oddHeaders = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        ...[
          'Content-Disposition',
          'content-type',
          'content-transfer-encoding',
          'form-data',
          'file',
        ],
        ...[
          'attachment',
          'name',
          'filename',
          'image',
          'seed',
          'metadata',
          'charset',
          'base64',
          "UTF-8''",
        ],
        ...[
          ': ',
          ':',
          ';',
          '; ',
          '=',
          '*',
          '"',
          "'",
          '\\',
          '%',
          '%00',
          '\r\n',
          '\r',
          '\n',
          '\r\n ',
          '\t',
        ],
        ...[
          'multipart/mixed; boundary=edge',
          'application/json',
          '--edge',
          '\r\n--edge',
          '\0',
          '\xff',
          ' ',
        ],
      ),
      fc.string({ maxLength: 8 }),
      fc.nat(4).map((power) => 'x'.repeat(10 ** power)),
    ),
    { maxLength: 20 },
  )
  .map((pieces) => pieces.join(''))

/** Requests of pieces that mean something to a server, most of them valid HTTP. */
const oddRequests = fc
  .record({
    method: fc.constantFrom('GET', 'HEAD', 'POST', 'QUERY', 'PROPFIND', 'OPTIONS', 'PUT'),
    path: fc.constantFrom(
      ...['/generate', '/jobs', '/health', '/status/x', '/events/', '/docs', '/%', '//', '*', '/?'],
      ...[
        '/jobs?limit=1e9',
        '/jobs?cursor=%00',
        '/jobs?limit=1&limit=2',
        '/__proto__',
        'http://x/jobs',
      ],
      `/result/${'A'.repeat(36)}`,
      '/cancel/AAAAAAAA-AAAA-AAAA-AAAA-AAAAAAAAAAAA',
    ),
    headers: fc.array(
      fc.tuple(
        fc.constantFrom(
          ...['content-type', 'content-encoding', 'authorization', 'x-api-key', 'idempotency-key'],
          ...[
            'last-event-id',
            'traceparent',
            'expect',
            'origin',
            'accept',
            'range',
            'upgrade',
            'te',
          ],
          ...['access-control-request-method', 'access-control-request-headers', 'cookie', 'host'],
        ),
        fc.constantFrom(
          ...[
            '',
            'x',
            '"',
            ';',
            '\xff',
            'multipart/form-data',
            'multipart/form-data; boundary="',
            'gzip',
          ],
          ...[
            'Bearer',
            'Bearer x',
            'Basic x',
            '*',
            '-1',
            '1e99',
            '00-0-0-0',
            '100-continue',
            'h2c',
          ],
          ...['multipart/form-data; boundary=\xe9', 'a/b; c', '__proto__', 'x'.repeat(4_000)],
        ),
      ),
      { maxLength: 6 },
    ),
    hasKey: fc.boolean(),
  })
  .map(({ method, path, headers, hasKey }) => {
    const key = hasKey ? `authorization: ${world.mine.headers.authorization}\r\n` : ''
    const rest = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')
    return `${method} ${path} HTTP/1.1\r\n${key}${rest}`
  })

/** Sends the bytes over a socket of its own, cut in two, and returns the status of the answer. */
async function send(bytes: Buffer, cutAt: number): Promise<number> {
  const middle = Math.floor(cutAt * bytes.length)
  const text = await exchange(world.url, bytes.subarray(0, middle), bytes.subarray(middle))
  // An interim answer may come first.
  return Number(/HTTP\/1\.1 ([2-5]\d\d) /.exec(text)?.[1])
}

const cutAt = fc.double({ min: 0, max: 1, noNaN: true })

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
  })

  it('in its form is accepted or refused, and never an error of ours', async () => {
    const whole = multipart({ image: image.subarray(0, 300), audio: audio.subarray(0, 300) })
    await fc.assert(
      fc.asyncProperty(cuts, async (how) => {
        expect(allowed).toContain(await post(mangled(whole, how)))
      }),
      { numRuns: 300 },
    )
    await until(async () => (await world.spooled()).length === 0)
  })

  it('in the headers of its parts is refused, and never an error of ours', async () => {
    const headers = fc.array(oddHeaders, { minLength: 1, maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(headers, cutAt, async (each, cut) => {
        const parts = each.map((header) => `--edge\r\n${header}\r\n\r\nx\r\n`).join('')
        const body = Buffer.from(`${parts}--edge--\r\n`, 'latin1')
        const head =
          `POST /generate HTTP/1.1\r\nhost: x\r\nauthorization: ${world.mine.headers.authorization}\r\n` +
          'content-type: multipart/form-data; boundary=edge\r\nconnection: close\r\n' +
          `content-length: ${body.length}\r\n\r\n`
        expect(await send(Buffer.concat([Buffer.from(head), body]), cut)).toBe(400)
      }),
      { numRuns: 250, seed: 7 },
    )
    await until(async () => (await world.spooled()).length === 0)
  })
})

it('a request that is odd in other ways is never an error of ours', async () => {
  const bodies = fc.constantFrom('', '{}', 'x'.repeat(100), '--edge--\r\n')
  await fc.assert(
    fc.asyncProperty(oddRequests, bodies, cutAt, async (head, body, cut) => {
      const end = `connection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`
      const status = await send(Buffer.from(head + end, 'latin1'), cut)
      expect(status, head).toBeGreaterThanOrEqual(200)
      expect(status, head).toBeLessThan(500)
    }),
    { numRuns: 250, seed: 7 },
  )
})
