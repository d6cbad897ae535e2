import { randomUUID } from 'node:crypto'
import { METHODS } from 'node:http'
import { afterAll, describe, expect, it } from 'vitest'
import { wav } from './media-fixtures.ts'
import { exchange, openConnection } from './raw-connection.ts'
import { type RestWorld, useRestWorld } from './rest-world.ts'

const prefix = '/some/avatar'
const world = useRestWorld({ env: { PUBLIC_PATH_PREFIX: prefix } })
// Whatever clients send, it is no fault of ours.
afterAll(() => expect(world.logged('request failed')).toEqual([]))

const raw = (request: string) => exchange(world.url, request)

const close = 'connection: close\r\n'

describe('an answer from outside the routes has the same envelope', () => {
  it.each<[string, string, string, RegExp?]>([
    ['an unknown route', `GET /nowhere HTTP/1.1\r\nhost: x\r\n${close}\r\n`, '404 ROUTE_NOT_FOUND'],
    [
      'another method',
      `DELETE /jobs HTTP/1.1\r\nhost: x\r\n${close}\r\n`,
      '405 METHOD_NOT_ALLOWED',
    ],
    [
      'a URL with half an escape',
      `GET /% HTTP/1.1\r\nhost: x\r\n${close}\r\n`,
      '400 MALFORMED_REQUEST',
    ],
    ['an unknown method', `NOPE / HTTP/1.1\r\nhost: x\r\n${close}\r\n`, '400 MALFORMED_REQUEST'],
    ['something that is not HTTP', 'nonsense\r\n\r\n', '400 MALFORMED_REQUEST'],
    [
      'a URL of 20 KB',
      `GET /${'x'.repeat(20_000)} HTTP/1.1\r\nhost: x\r\n\r\n`,
      '414 URL_TOO_LONG',
    ],
    [
      'an id of 300 characters',
      `GET /status/${'x'.repeat(300)} HTTP/1.1\r\nhost: x\r\n${close}\r\n`,
      '401 UNAUTHORIZED',
    ],
    [
      'headers of 20 KB',
      `GET /jobs HTTP/1.1\r\nhost: x\r\nx: ${'x'.repeat(20_000)}\r\n\r\n`,
      '400 MALFORMED_REQUEST',
      /^headers: more than 16384 bytes/,
    ],
    [
      'many headers',
      `GET /jobs HTTP/1.1\r\nhost: x\r\n${'x: yz\r\n'.repeat(3_000)}\r\n`,
      '400 MALFORMED_REQUEST',
      /^headers: more than 16384 bytes/,
    ],
    ['a tunnel', `CONNECT a.example:443 HTTP/1.1\r\nhost: x\r\n\r\n`, '405 METHOD_NOT_ALLOWED'],
    [
      'a path out of a known one',
      `GET /a/../health HTTP/1.1\r\nhost: x\r\n${close}\r\n`,
      '404 ROUTE_NOT_FOUND',
    ],
    [
      'another method on a path out of a known one',
      `PUT /./health HTTP/1.1\r\nhost: x\r\n${close}\r\n`,
      '404 ROUTE_NOT_FOUND',
    ],
    ['no host', `GET /jobs HTTP/1.1\r\n${close}\r\n`, '401 UNAUTHORIZED'],
    [
      'an expectation',
      `GET /jobs HTTP/1.1\r\nhost: x\r\nexpect: wonders\r\n\r\n`,
      '400 MALFORMED_REQUEST',
      /^Expect: only 100-continue is known/,
    ],
    [
      'two lengths',
      `POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n`,
      '400 MALFORMED_REQUEST',
    ],
  ])('%s', async (_what, request, expected, message = /./) => {
    const answer = await raw(request)
    const [head = '', body = ''] = answer.split('\r\n\r\n')
    const { error, meta } = JSON.parse(body)
    expect(`${head.split(' ')[1]} ${error.code}`).toBe(expected)
    expect(head.toLowerCase()).toContain('content-type: application/json')
    expect(error).toEqual({
      code: expect.any(String),
      message: expect.stringMatching(message),
      details: expect.any(Object),
    })
    expect(meta).toEqual({ request_id: expect.any(String) })
  })
})

it('an id of any length that is none is refused as a short one is', async () => {
  for (const id of ['x', 'x'.repeat(300), 'x'.repeat(12_000)]) {
    const { status, body } = await world.call(`/status/${id}`)
    expect(status).toBe(400)
    expect(body.error).toMatchObject({ code: 'INVALID_REQUEST', details: { field: 'job_id' } })
  }
})

describe('a path', () => {
  const paths: [string, string][] = [
    ['/health', 'GET, HEAD, OPTIONS'],
    ['/health?x=y', 'GET, HEAD, OPTIONS'],
    ['/generate', 'OPTIONS, POST'],
    ['/jobs', 'GET, HEAD, OPTIONS'],
    ['/usage', 'GET, HEAD, OPTIONS'],
    [`/status/${randomUUID()}`, 'GET, HEAD, OPTIONS'],
    ['/result/nonsense', 'GET, HEAD, OPTIONS'],
    [`/cancel/${randomUUID()}`, 'OPTIONS, POST'],
    ['/openapi.json', 'GET, HEAD, OPTIONS'],
    ['/', 'GET, HEAD, OPTIONS'],
    ['/docs', 'GET, HEAD, OPTIONS'],
    ['/docs/', 'GET, HEAD, OPTIONS'],
    ['/page/page.js', 'GET, HEAD, OPTIONS'],
    [`/result/${randomUUID()}/video`, 'GET, HEAD, OPTIONS'],
    [`/events/${randomUUID()}`, 'GET, OPTIONS'],
    [`/events/${randomUUID()}/token`, 'OPTIONS, POST'],
    [`${prefix}/generate`, 'OPTIONS, POST'],
    ['/%67enerate', 'OPTIONS, POST'],
    ['http://x/generate', 'OPTIONS, POST'],
    [`http://x:80${prefix}/generate?x=y`, 'OPTIONS, POST'],
  ]
  // CONNECT names no path.
  const methods = METHODS.filter((method) => method !== 'CONNECT')

  it('answers every method that it does not take with 405 and those that it takes', async () => {
    for (const [path, allow] of paths)
      for (const method of methods.filter((each) => !allow.split(', ').includes(each)))
        for (const body of [
          '',
          'content-type: nonsense\r\n',
          'content-type: a/b\r\ncontent-length: 0\r\n',
        ]) {
          const answer = await raw(`${method} ${path} HTTP/1.1\r\nhost: x\r\n${body}${close}\r\n`)
          const [head = '', text = ''] = answer.split('\r\n\r\n')
          expect(head, `${method} ${path}`).toMatch(/^HTTP\/1.1 405 /)
          expect(head).toContain(`allow: ${allow}\r\n`)
          if (method === 'HEAD') continue
          expect(JSON.parse(text).error).toMatchObject({
            code: 'METHOD_NOT_ALLOWED',
            details: { method, allow },
          })
        }
  })

  it('that is unknown answers every method with 404', async () => {
    for (const path of [
      '/nowhere',
      '/generate/x',
      '/status',
      '/%ff',
      `${prefix}x/health`,
      '/Health',
      '/health%2f',
      'http://x/nowhere',
    ])
      for (const method of methods.filter((each) => !['OPTIONS', 'HEAD'].includes(each))) {
        const answer = await raw(`${method} ${path} HTTP/1.1\r\nhost: x\r\n${close}\r\n`)
        const expected = path === '/%ff' ? [400, 'MALFORMED_REQUEST'] : [404, 'ROUTE_NOT_FOUND']
        const [head = '', text = ''] = answer.split('\r\n\r\n')
        expect([Number(head.split(' ')[1]), JSON.parse(text).error.code]).toEqual(expected)
      }
  })

  it('answers HEAD and OPTIONS as before', async () => {
    for (const [path] of paths.filter(([each]) => each.startsWith('/'))) {
      expect((await fetch(world.url + path, { method: 'OPTIONS' })).status).toBe(204)
    }
    expect((await fetch(`${world.url}/health`, { method: 'HEAD' })).status).toBe(200)
  })
})

describe('a field or parameter that is not valid', () => {
  it.each([
    ['/jobs?limit=abc', 'limit', 'must be a whole number from 1 to 100'],
    ['/jobs?limit=0', 'limit', 'must be a whole number from 1 to 100'],
    ['/jobs?limit=1.5', 'limit', 'must be a whole number from 1 to 100'],
    ['/jobs?limit=1&limit=2', 'limit', 'must be a whole number from 1 to 100'],
    ['/status/7', 'job_id', 'must be a UUID, the job_id of an answer to POST /generate'],
  ])('%s is refused in plain words', async (path, field, problem) => {
    const { status, body } = await world.call(path)
    expect(status).toBe(400)
    expect(body['error']).toMatchObject({ details: { field, problem } })
  })
})

describe('what follows a whole request on its connection', () => {
  it('does not cost the request its answer', async () => {
    const ask = `GET /health HTTP/1.1\r\nhost: x\r\n\r\n`
    for (const before of [1, 3]) {
      const answer = await raw(`${ask.repeat(before)}nonsense\r\n\r\n`)
      expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(Array(before).fill('HTTP/1.1 200'))
    }
  })

  it('ends an event stream, and is not answered inside it', async () => {
    const { jobId } = await world.putJob({ state: 'rendering', epoch: 1 })
    const connection = await openConnection(world.url)
    const { socket } = connection
    const ended = new Promise((resolve) => socket.once('close', resolve))
    socket.once('data', () => socket.write('nonsense\r\n\r\n'))
    const { key } = world.mine
    socket.write(`GET /events/${jobId} HTTP/1.1\r\nhost: x\r\nx-api-key: ${key}\r\n\r\n`)
    await ended
    const { text } = connection
    expect(text).toMatch(/^HTTP\/1.1 200 /)
    expect(text).not.toContain('MALFORMED_REQUEST')
  })
})

describe('an id in capitals', () => {
  it('is that of the same job; other forms of an id are refused', async () => {
    const job = await world.putJob()
    const ask = (path: string, id: string) =>
      world.call(`/${path}/${id}`, { method: path === 'cancel' ? 'POST' : 'GET' })
    const status = await ask('status', job.jobId.toUpperCase())
    expect(status.body['data']).toMatchObject({ job_id: job.jobId })
    expect((await ask('result', job.jobId.toUpperCase())).status).toBe(409)
    for (const id of [`{${job.jobId}}`, `urn:uuid:${job.jobId}`, job.jobId.replaceAll('-', '')])
      for (const path of ['status', 'result', 'events', 'cancel'])
        expect((await ask(path, id)).status, id).toBe(400)
  })
})

describe('X-API-Key', () => {
  const ask = async (headers: Record<string, string>) => {
    const answer = await fetch(`${world.url}/jobs`, { headers })
    return { status: answer.status, error: JSON.parse(await answer.text()).error }
  }

  it('is accepted in place of Authorization and beside it', async () => {
    const { key } = world.mine
    for (const headers of [
      { 'x-api-key': key },
      { 'X-API-KEY': key, authorization: `bearer ${key}` },
      { 'x-api-key': key, authorization: 'Basic cHJveHk6cGFzcw==' },
    ] as Record<string, string>[])
      expect(await ask(headers)).toMatchObject({ status: 200 })
  })

  it('is refused by its name when Authorization has another key, and never logged', async () => {
    const { key } = await world.createKey()
    const answer = await ask({ 'x-api-key': key, ...world.mine.headers })
    expect(answer).toMatchObject({ status: 401, error: { code: 'UNAUTHORIZED' } })
    expect(answer.error.details).toMatchObject({ field: 'X-API-Key' })
    for (const wrong of ['', 'nonsense', `${key}x`, `Bearer ${key}`])
      expect(await ask({ 'x-api-key': wrong })).toMatchObject({ status: 401 })
    expect(world.logged('request refused').length).toBeGreaterThan(4)
    expect(world.logged('request refused').join('\n')).not.toContain(key)
  })
})

describe('a path prefix', () => {
  it('begins every link, and requests may have it or not', async () => {
    const submitted = await world.generate({ audio: wav({ seconds: 0.5 }) })
    const { links } = submitted.body['data'] as unknown as { links: Record<string, string> }
    expect(submitted.headers.get('location')).toBe(links['status'])
    for (const link of Object.values(links)) expect(link).toMatch(/^\/some\/avatar\//)
    const bare = links['status']?.slice(prefix.length) ?? ''
    for (const path of [bare, prefix + bare]) {
      const status = await world.call(path)
      expect(status.body['data']).toMatchObject({ links })
    }
    const { body } = await world.call(`${prefix}/openapi.json`)
    expect(body).toMatchObject({ servers: [{ url: prefix }] })
  })

  it('gets its slash before the page is served, whose paths are relative', async () => {
    for (const query of ['', '?x=y']) {
      const page = await fetch(`${world.url}${prefix}${query}`, { redirect: 'manual' })
      expect(page.headers.get('location')).toBe(`${prefix}/${query}`)
    }
  })

  it('leads to the pages of the documentation', async () => {
    const page = await fetch(`${world.url}${prefix}/docs`)
    const html = await page.text()
    const [, script = ''] = /src="([^"]+\.js)"/.exec(html) ?? []
    expect((await fetch(new URL(script, page.url))).status).toBe(200)
    expect(page.url).toContain(prefix)
  })
})

describe('a job of another owner', () => {
  it('looks exactly like one that does not exist, on every route', async () => {
    const theirs = await world.putJob()
    const stranger = await world.createKey()
    const ask = async (path: string, jobId: string) => {
      const method = path === 'cancel' ? 'POST' : 'GET'
      const answer = await world.call(`/${path}/${jobId}`, { method, headers: stranger.headers })
      const names = [...answer.headers.keys()].toSorted()
      return { status: answer.status, error: answer.body['error'], names }
    }
    const unknown = [
      randomUUID(),
      '00000000-0000-0000-0000-000000000000',
      'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa',
    ]
    for (const path of ['status', 'result', 'events', 'cancel']) {
      const answer = await ask(path, theirs.jobId)
      expect(answer).toMatchObject({ status: 404, error: { code: 'JOB_NOT_FOUND', details: {} } })
      for (const jobId of unknown) expect(await ask(path, jobId), path).toEqual(answer)
    }
    const malformed = await world.call('/status/not-a-uuid')
    expect(malformed.status).toBe(400)
  })
})

describe('CORS', () => {
  const allowed = 'https://app.example'
  const headersOf = async (path: string, init: RequestInit) =>
    (await fetch(world.url + path, init)).headers

  it('lets pages of listed origins read answers, errors and exposed headers', async () => {
    for (const path of ['/health', '/jobs', '/nowhere']) {
      const headers = await headersOf(path, { headers: { origin: allowed } })
      expect(headers.get('access-control-allow-origin')).toBe(allowed)
      expect(headers.get('access-control-expose-headers')).toContain('location')
      expect(headers.get('vary')).toContain('Origin')
    }
  })

  it('lets them send keys and idempotency keys', async () => {
    const headers = await headersOf('/generate', {
      method: 'OPTIONS',
      headers: {
        origin: allowed,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,x-api-key,idempotency-key',
      },
    })
    expect(headers.get('access-control-allow-origin')).toBe(allowed)
    expect(headers.get('access-control-allow-methods')).toContain('POST')
    expect(headers.get('access-control-allow-headers')).toContain('x-api-key,idempotency-key')
  })

  it('lets pages of other origins read nothing, however similar the origin', async () => {
    for (const origin of [
      'https://evil.example',
      'http://app.example',
      `${allowed}.evil`,
      'null',
    ]) {
      const get = await headersOf('/health', { headers: { origin } })
      expect(get.get('access-control-allow-origin')).toBeNull()
      const preflight = { origin, 'access-control-request-method': 'POST' }
      const options = await headersOf('/generate', { method: 'OPTIONS', headers: preflight })
      expect(options.get('access-control-allow-origin')).toBeNull()
    }
  })

  it('answers a preflight without an origin with an empty body', async () => {
    const answer = await fetch(`${world.url}/generate`, { method: 'OPTIONS' })
    expect(answer.status).toBeLessThan(300)
    expect(await answer.text()).toBe('')
  })
})

describe('Idempotency-Key', () => {
  it('means the same in quotes, and has 1 to 255 characters', async () => {
    const first = await world.generate({}, { 'idempotency-key': 'quoted' })
    const again = await world.generate({}, { 'idempotency-key': '"quoted"' })
    expect([first.status, again.status]).toEqual([201, 200])
    expect(again.body['data']).toEqual(first.body['data'])
    expect(again.headers.get('location')).toBe(first.headers.get('location'))
    for (const key of ['', '""', 'k'.repeat(256)]) {
      const answer = await world.generate({}, { 'idempotency-key': key })
      expect(answer.body['error']).toMatchObject({ details: { field: 'Idempotency-Key' } })
    }
  })

  it('answers another portrait, voice, prompt, seed or priority with 422, and never with 409', async () => {
    const headers = { 'idempotency-key': 'payloads' }
    expect((await world.generate({ fields: { seed: '1' } }, headers)).status).toBe(201)
    const others: Parameters<RestWorld['generate']>[0][] = [
      { fields: { seed: '2' } },
      { fields: {} },
      { fields: { seed: '1', prompt: 'x' } },
      { fields: { seed: '1', priority: 'normal' } },
      { fields: { seed: '1' }, audio: wav({ seconds: 1 }) },
    ]
    for (const other of others) {
      const answer = await world.generate(other, headers)
      expect(answer.status).toBe(422)
      expect(answer.body['error']).toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' })
    }
    // Also when many of two kinds come at once: one kind becomes the job, the other is refused.
    const race = { 'idempotency-key': 'race' }
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        world.generate({ fields: { seed: String(i % 2) } }, race),
      ),
    )
    const statuses = answers.map(({ status }) => status).toSorted()
    expect(statuses).toEqual([200, 200, 200, 200, 201, 422, 422, 422, 422, 422])
  })
})
