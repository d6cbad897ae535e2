import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { portrait, type System, until, voice } from '../../tests/harness/index.ts'

type World = { system: System; key: string }

/** `wanted` is how the answer begins: the HTTP status, and the code of a refusal. */
type RequestCase = readonly [name: string, wanted: string, send: (world: World) => Promise<string>]

const boundary = 'wild'

/** A part of a multipart body; `head` is everything before the empty line. */
const part = (head: string, content: Buffer | string): Buffer =>
  Buffer.concat([
    Buffer.from(`--${boundary}\r\n${head}\r\n\r\n`),
    Buffer.from(content),
    Buffer.from('\r\n'),
  ])
const field = (name: string, content: Buffer | string, more = '') =>
  part(`content-disposition: form-data; name="${name}"${more}`, content)
const end = Buffer.from(`--${boundary}--\r\n`)
const image = field('image', portrait(), '; filename="a.png"')
const audio = field('audio', voice({ seconds: 1 }), '; filename="a.wav"')
const whole = (...parts: Buffer[]) => Buffer.concat([image, audio, ...parts, end])

type Raw = { method?: string; path?: string; headers?: Record<string, string>; body?: Buffer }

/** Sends a request as its bytes. The answer's status, code and message, or the whole of a short body. */
async function raw({ system, key }: World, request: Raw, showing = ''): Promise<string> {
  const { method = 'POST', path = '/generate', body = Buffer.alloc(0) } = request
  const headers: Record<string, string> = {
    host: new URL(system.url).host,
    authorization: `Bearer ${key}`,
    connection: 'close',
    'content-type': `multipart/form-data; boundary=${boundary}`,
    'content-length': String(body.length),
    ...request.headers,
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
  const socket = connect(Number(new URL(system.url).port), '127.0.0.1')
  socket.on('error', () => undefined) // An answer that comes before the whole body ends in a reset.
  socket.write(`${method} ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)
  socket.write(body)
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk
  })
  await once(socket, 'close', { signal: AbortSignal.timeout(30_000) })
  const status = /^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 'no answer'
  const code = /"code":"(\w+)"/.exec(text)?.[1] ?? ''
  const shown = showing ? new RegExp(`^${showing}: .*$`, 'im').exec(text)?.[0].trim() : ''
  const about = /"message":"(.*)"?,"details":(.*?),"meta"/.exec(text)
  return [status, code, shown, about?.[1], about?.[2]]
    .filter(Boolean)
    .join(' ')
    .replaceAll('|', '/')
}

/** A finished job, and its answer to a further request. */
async function finished({ system, key }: World): Promise<string> {
  const client = system.clientWith(key)
  const { jobId } = await client.submit()
  await client.untilView(jobId, ({ status }) => status === 'completed' || status === 'failed')
  return jobId
}

/** Sends this body to `POST /generate`. */
const upload =
  (body: Buffer, headers: Record<string, string> = {}) =>
  (world: World) =>
    raw(world, { body, headers })

/** Sends the head of a large upload, which waits to be asked for its body. */
const expecting = (headers: Record<string, string>) => (world: World) =>
  raw(world, { headers: { expect: '100-continue', 'content-length': '1000000', ...headers } })

const metadata = part(
  'content-disposition: form-data; name="metadata"\r\ncontent-type: application/json',
  '{"prompt":"hello","seed":7}',
)
const oddHeader = part('content-disposition: form-data; name="\u0000"; =\r\n:', 'x')
const manyParts = Array.from({ length: 20 }, (_, n) => field(`f${n}`, ''))
const invalidUtf8 = Buffer.from([0x61, 0xff, 0xfe])
const malformed = '400 MALFORMED_MULTIPART'
const invalid = '400 INVALID_REQUEST'
const unsupported = '415 UNSUPPORTED_MEDIA_TYPE'

/** Requests of real clients, and of hostile ones. */
export const requestCases: readonly RequestCase[] = [
  [
    'the portrait as a part without a file name',
    '201',
    upload(Buffer.concat([field('image', portrait()), audio, end])),
  ],
  ['metadata as JSON', '201', upload(whole(metadata))],
  ['seed=abc', invalid, upload(whole(field('seed', 'abc')))],
  ['no boundary', malformed, upload(whole(), { 'content-type': 'multipart/form-data' })],
  ['too many parts', invalid, upload(whole(...manyParts))],
  ['a field called toString', invalid, upload(whole(field('toString', 'x')))],
  ['a field in invalid UTF-8', invalid, upload(whole(field('prompt', invalidUtf8)))],
  ['a part without a disposition', '400', upload(whole(part('content-type: text/plain', 'x')))],
  ['an odd header of a part', '400', upload(whole(oddHeader))],
  ['content-encoding gzip', unsupported, upload(gzipSync(whole()), { 'content-encoding': 'gzip' })],
  ['content-encoding br', unsupported, upload(whole(), { 'content-encoding': 'br' })],
  ['a JSON body', unsupported, upload(Buffer.from('{}'), { 'content-type': 'application/json' })],
  ['QUERY /health', '405', (world) => raw(world, { method: 'QUERY', path: '/health' }, 'allow')],
  ['GET /generate', '405', (world) => raw(world, { method: 'GET' }, 'allow')],
  [
    'Expect: 100-continue with a wrong key',
    '401 UNAUTHORIZED',
    expecting({ authorization: 'Bearer wrong' }),
  ],
  [
    'Expect: 100-continue with a length too large',
    '413 BODY_TOO_LARGE',
    expecting({ 'content-length': '900000000' }),
  ],
  ['a hundred clients hang up', 'nothing left', hangUp],
  ['the event stream of a finished job, opened again', '204', reopenEvents],
  [
    'an id in capital letters',
    '200',
    async (world) =>
      raw(world, { method: 'GET', path: `/status/${(await finished(world)).toUpperCase()}` }),
  ],
  [
    'X-API-Key',
    '200',
    async ({ system, key }) =>
      String((await fetch(`${system.url}/jobs`, { headers: { 'x-api-key': key } })).status),
  ],
  [
    'the link of a video, its HEAD and its download',
    '200 video/mp4, 200, attachment; filename="avatar-',
    followLinks,
  ],
  [
    'GET /',
    '200 text/html',
    async ({ system }) => {
      const { status, headers } = await fetch(system.url)
      return `${status} ${headers.get('content-type')}`
    },
  ],
]

async function reopenEvents(world: World): Promise<string> {
  const url = `${world.system.url}/events/${await finished(world)}`
  const headers = { authorization: `Bearer ${world.key}` }
  const ids = (await (await fetch(url, { headers })).text()).match(/^id: .*$/gm) ?? []
  const lastId = ids.at(-1)?.slice('id: '.length) ?? ''
  return String((await fetch(url, { headers: { ...headers, 'last-event-id': lastId } })).status)
}

async function followLinks(world: World): Promise<string> {
  const client = world.system.clientWith(world.key)
  const { url, head_url, download_url } = await client.result(await finished(world))
  const [video, head, saved] = await Promise.all([
    fetch(url),
    fetch(head_url, { method: 'HEAD' }),
    fetch(download_url),
  ])
  const disposition = saved.headers.get('content-disposition')
  return `${video.status} ${video.headers.get('content-type')}, ${head.status}, ${disposition}`
}

/** Clients that send the head of a submission and disappear. */
async function hangUp({ system, key }: World): Promise<string> {
  for (let n = 0; n < 100; n++) {
    const socket = connect(Number(new URL(system.url).port), '127.0.0.1')
    await once(socket, 'connect')
    socket.write(
      `POST /generate HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${key}\r\n` +
        `content-type: multipart/form-data; boundary=${boundary}\r\ncontent-length: 5000000\r\n\r\n`,
    )
    if (n % 2) socket.write(image.subarray(0, 1_000))
    socket.destroy()
  }
  const folders = async () =>
    (await readdir(join(system.dataDir, 'spool', 'ingest', 'uploads'))).length
  await until(async () => (await folders()) === 0, { timeoutMs: 60_000, what: 'no upload left' })
  return 'nothing left'
}
