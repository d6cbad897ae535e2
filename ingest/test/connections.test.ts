import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { limits } from '@avatar/contracts'
import { until } from '@avatar/service-kit/testing'
import sharp from 'sharp'
import { afterAll, describe, expect, it } from 'vitest'
import { wav } from './media-fixtures.ts'
import { openConnection, type RawConnection, rawUpload } from './raw-connection.ts'
import { portrait, type RestWorld, useRestWorld } from './rest-world.ts'

const world = useRestWorld()
/** Waits so short that a client can pass them. */
const hasty = useRestWorld({ divisor: 100 })
const image = await sharp(portrait).resize(160, 160).jpeg().toBuffer()
const audio = wav({ seconds: 0.5 })

// Whatever clients do, it is no fault of ours.
afterAll(() => {
  expect(world.logged('request failed')).toEqual([])
  expect(hasty.logged('request failed')).toEqual([])
})

const body = rawUpload({ image, audio })

const open = ({ url } = world, options: { allowHalfOpen?: boolean } = {}) =>
  openConnection(url, options)

const head = (lines: string[], { mine } = world) =>
  `${['POST /generate HTTP/1.1', 'host: x', `authorization: Bearer ${mine.key}`, ...lines].join('\r\n')}\r\n\r\n`
const upload = (lines: string[] = [], from = world) =>
  head(
    ['content-type: multipart/form-data; boundary=b', `content-length: ${body.length}`, ...lines],
    from,
  )

const answersIn = (text: string) => text.match(/HTTP\/1\.1 \d+/g) ?? []

const connectionsOf = ({ app }: RestWorld) =>
  new Promise<number>((resolve) => app.server.getConnections((_error, count) => resolve(count)))

/** Waits for an answer and the end of the connection. */
async function refusal(connection: RawConnection) {
  await until(() => connection.hasEnded)
  const [start = '', json = ''] = connection.text.split('\r\n\r\n')
  expect(start.toLowerCase()).toContain('connection: close')
  expect(answersIn(connection.text)).toHaveLength(1)
  const { error } = JSON.parse(json)
  return { status: `${start.split(' ')[1]} ${error.code}`, details: error.details }
}

describe('an upload that hangs up', () => {
  const middle = Math.floor(body.length / 3)
  const leave = {
    'hangs up': (socket: Socket) => socket.destroy(),
    'closes its side': (socket: Socket) => socket.end(),
    'resets the connection': (socket: Socket) => socket.resetAndDestroy(),
  }
  const sent = {
    'its head': Buffer.from(''),
    'half of the head of a part': body.subarray(0, 30),
    'half of a part': body.subarray(0, middle),
    'all but the last byte': body.subarray(0, -1),
    'its whole body': body,
  }
  const cases = Object.keys(sent).flatMap((what) => Object.keys(leave).map((how) => [what, how]))
  const rounds = 20
  const openThings = async () => ({
    files: (await readdir('/proc/self/fd')).length,
    connections: await connectionsOf(world),
  })

  it('leaves nothing behind, wherever and however it ends, and is the fault of the client', async () => {
    expect((await world.generate()).status).toBe(201) // Whatever is made once exists by now.
    await until(async () => (await world.spooled()).length === 0)
    const traces = await world.traces()
    const before = await openThings()
    for (let round = 0; round < rounds; round++)
      await Promise.all(
        cases.map(async ([what, how]) => {
          const { socket } = await open()
          socket.write(Buffer.concat([Buffer.from(upload()), sent[what as keyof typeof sent]]))
          // In every second round the server gets to see the beginning first.
          if (round % 2 === 1) await new Promise((resolve) => setImmediate(resolve))
          leave[how as keyof typeof leave](socket)
          await once(socket, 'close')
        }),
      )
    const refused = () => world.logged('request refused').map((line) => JSON.parse(line))
    await until(() => refused().length > 0 && world.logged('request failed').length === 0)
    await until(async () => (await world.spooled()).length === 0)
    await until(async () => {
      const now = await openThings()
      return now.files <= before.files && now.connections <= before.connections
    })
    expect(await world.traces()).toEqual(traces)
    for (const line of refused())
      expect(line).toMatchObject({ level: 'info', code: 'CLIENT_GONE', blame: 'caller' })
    expect((await world.generate()).status).toBe(201)
  })
})

describe('a client that waits with its body', () => {
  it('is asked for it once its head is accepted', async () => {
    const connection = await open()
    connection.socket.write(upload(['expect: 100-continue', 'connection: close']))
    await until(() => connection.text === 'HTTP/1.1 100 Continue\r\n\r\n')
    connection.socket.write(body)
    await until(() => connection.hasEnded)
    expect(answersIn(connection.text)).toEqual(['HTTP/1.1 100', 'HTTP/1.1 201'])
  })

  it.each([
    ['a wrong key', 'authorization: Bearer x', '401 UNAUTHORIZED'],
    ['too large a body', `content-length: ${limits.bodyMaxBytes + 1}`, '413 BODY_TOO_LARGE'],
  ])('is refused without being asked: %s', async (_what, line, expected) => {
    const name = line.slice(0, line.indexOf(':'))
    const lines = upload(['expect: 100-continue'])
      .split('\r\n')
      .map((each) => (each.startsWith(`${name}:`) ? line : each))
    const connection = await open()
    connection.socket.write(lines.join('\r\n'))
    expect((await refusal(connection)).status).toBe(expected)
  })
})

describe('after an answer that came before the whole body', () => {
  it.each([
    ['an upload with a wrong key', 'POST /generate', 401],
    ['an upload of another type', 'POST /generate', 415],
    ['a route that takes no body', 'POST /cancel/00000000-0000-4000-8000-000000000000', 404],
    ['an unknown route', 'PUT /nowhere', 404],
    ['a preflight', 'OPTIONS /generate', 204],
    ['a URL that the router refuses', 'POST /%', 400],
    ['a GET with a body', 'GET /health', 200],
  ])(
    'the connection is closed and nothing on it is taken for a request: %s',
    async (_what, line, status) => {
      const connection = await open()
      const key = status === 401 ? 'nonsense' : world.mine.key
      connection.socket.write(
        `${line} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\ncontent-length: 1000\r\n\r\nhalf`,
      )
      await until(() => connection.hasEnded)
      expect(connection.text.toLowerCase()).toContain('connection: close')
      expect(answersIn(connection.text)).toEqual([`HTTP/1.1 ${status}`])
    },
  )

  it('goes on with the next request when the body was whole', async () => {
    const connection = await open()
    const next = 'GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n'
    connection.socket.write(
      `POST /cancel/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${world.mine.key}\r\ncontent-length: 4\r\n\r\nbody${next}`,
    )
    await until(() => connection.hasEnded)
    expect(answersIn(connection.text)).toEqual(['HTTP/1.1 400', 'HTTP/1.1 200'])
  })

  it('what is left of the body is discarded, so that a client that reads late reads the answer', async () => {
    const connection = await open(world, { allowHalfOpen: true })
    const bytes = 20 * 2 ** 20
    connection.socket.write(
      `POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: ${bytes}\r\n\r\n`,
    )
    connection.socket.pause()
    const block = Buffer.alloc(2 ** 20)
    for (let sent = 0; sent < bytes; sent += block.length)
      if (!connection.socket.write(block)) await once(connection.socket, 'drain')
    connection.socket.resume()
    expect((await refusal(connection)).status).toBe('401 UNAUTHORIZED')
    connection.socket.destroy()
  })
})

describe('a client that is too slow', () => {
  it.each([
    ['never sends a byte', () => '', 'the head took too long'],
    [
      'never ends its head',
      () => 'POST /generate HTTP/1.1\r\nhost: x\r\n',
      'the head took too long',
    ],
    ['stops in its body', () => upload([], hasty), 'no byte of the body arrived'],
  ])('gets a 408 that says what was late: %s', async (_what, request, problem) => {
    const connection = await open(hasty)
    const closed = once(connection.socket, 'close')
    connection.socket.write(request())
    expect(await refusal(connection)).toMatchObject({
      status: '408 REQUEST_TIMEOUT',
      details: { problem },
    })
    await closed
    await until(async () => (await hasty.spooled()).length === 0)
  })

  it('keeps no connection by holding its side open', async () => {
    const { socket } = await open(hasty, { allowHalfOpen: true })
    socket.write('POST /generate HTTP/1.1\r\n')
    await once(socket, 'end')
    await until(async () => (await connectionsOf(hasty)) === 0)
    socket.destroy()
  })
})
