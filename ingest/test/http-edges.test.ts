import { randomUUID } from 'node:crypto'
import { connect } from 'node:net'
import { afterAll, describe, expect, it } from 'vitest'
import { wav } from './media-fixtures.ts'
import { type RestWorld, useRestWorld } from './rest-world.ts'

const world = useRestWorld()
// Whatever clients send, it is no fault of ours.
afterAll(() => expect(world.logged('request failed')).toEqual([]))

/** Sends raw bytes and reads until the server closes the connection. */
function raw(request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(world.url).port), '127.0.0.1')
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.on('end', () => resolve(text))
    socket.on('error', reject)
    socket.write(request)
  })
}

const close = 'connection: close\r\n'

describe('an answer from outside the routes has the same envelope', () => {
  it.each([
    ['an unknown route', `GET /nowhere HTTP/1.1\r\nhost: x\r\n${close}\r\n`, '404 ROUTE_NOT_FOUND'],
    ['another method', `DELETE /jobs HTTP/1.1\r\nhost: x\r\n${close}\r\n`, '404 ROUTE_NOT_FOUND'],
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
      '414 URL_TOO_LONG',
    ],
    [
      'headers of 20 KB',
      `GET /jobs HTTP/1.1\r\nhost: x\r\nx: ${'x'.repeat(20_000)}\r\n\r\n`,
      '400 MALFORMED_REQUEST',
    ],
    ['no host', `GET /jobs HTTP/1.1\r\n${close}\r\n`, '401 UNAUTHORIZED'],
    [
      'an expectation',
      `GET /jobs HTTP/1.1\r\nhost: x\r\nexpect: wonders\r\n\r\n`,
      '400 MALFORMED_REQUEST',
    ],
    [
      'two lengths',
      `POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n`,
      '400 MALFORMED_REQUEST',
    ],
  ])('%s', async (_what, request, expected) => {
    const answer = await raw(request)
    const [head = '', body = ''] = answer.split('\r\n\r\n')
    const { error, meta } = JSON.parse(body)
    expect(`${head.split(' ')[1]} ${error.code}`).toBe(expected)
    expect(head.toLowerCase()).toContain('content-type: application/json')
    expect(error).toEqual({
      code: expect.any(String),
      message: expect.any(String),
      details: expect.any(Object),
    })
    expect(meta).toEqual({ request_id: expect.any(String) })
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
        'access-control-request-headers': 'authorization,idempotency-key',
      },
    })
    expect(headers.get('access-control-allow-origin')).toBe(allowed)
    expect(headers.get('access-control-allow-methods')).toContain('POST')
    expect(headers.get('access-control-allow-headers')).toContain('idempotency-key')
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

  it('answers another portrait, voice, prompt or seed with 422, and never with 409', async () => {
    const headers = { 'idempotency-key': 'payloads' }
    expect((await world.generate({ fields: { seed: '1' } }, headers)).status).toBe(201)
    const others: Parameters<RestWorld['generate']>[0][] = [
      { fields: { seed: '2' } },
      { fields: {} },
      { fields: { seed: '1', prompt: 'x' } },
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
  }, 60_000)
})
