import { until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openConnection } from './raw-connection.ts'
import { portrait, type RestWorld, useRestWorld, voice } from './rest-world.ts'

/** A token comes back after 5 s for reads and 10 s else: not between two calls, however slow a machine is. */
const submitBurst = 20
const world = useRestWorld({
  env: {
    LIMIT_SUBMITS_PER_MINUTE: '6',
    LIMIT_SUBMIT_BURST: String(submitBurst),
    LIMIT_READS_PER_MINUTE: '12',
    LIMIT_READ_BURST: '4',
    LIMIT_FAILED_KEYS_PER_MINUTE: '6',
    LIMIT_FAILED_KEY_BURST: '3',
    TRUSTED_PROXIES: '127.0.0.1, fd00::/8',
  },
})
const generous = new Map<string, object>()
let replica: Awaited<ReturnType<RestWorld['startReplica']>>

beforeAll(async () => {
  replica = await world.startReplica((owner) => generous.get(owner) ?? {})
})
afterAll(() => replica.stop())

const refusedForm = { method: 'POST', headers: { 'content-type': 'multipart/form-data' } }

/** A submission of one byte, which is counted and then refused for what it is. */
const submit = (key: { headers: Record<string, string> }, url = world.url) =>
  fetch(`${url}/generate`, { ...refusedForm, headers: { ...refusedForm.headers, ...key.headers } })
const read = (key: { headers: Record<string, string> }, init: RequestInit = {}, url = world.url) =>
  fetch(`${url}/jobs`, { ...init, headers: { ...key.headers, ...init.headers } })

const ratesOf = ({ headers }: Response) => [
  headers.get('ratelimit-policy'),
  headers.get('ratelimit'),
]

async function codeOf(response: Response): Promise<string> {
  return ((await response.json()) as { error: { code: string } }).error.code
}

describe('every answer to a known key', () => {
  it('tells its rate, and a refusal when to come again', async () => {
    const key = await world.createKey()
    const policy = '"read";q=4;w=20'
    const first = await read(key)
    expect(ratesOf(first)).toEqual([policy, '"read";r=3;t=5'])
    expect(ratesOf(await read(key, { method: 'HEAD' }))).toEqual([policy, '"read";r=2;t=10'])
    const missing = '/status/00000000-0000-4000-8000-000000000000'
    const notFound = await fetch(world.url + missing, { headers: key.headers })
    expect([notFound.status, ...ratesOf(notFound)]).toEqual([404, policy, '"read";r=1;t=15'])
    await read(key)
    const refused = await read(key)
    expect(refused.status).toBe(429)
    expect(ratesOf(refused)).toEqual([policy, '"read";r=0;t=5'])
    expect(refused.headers.get('retry-after')).toBe('5')
    expect(await refused.json()).toMatchObject({
      error: {
        code: 'TOO_MANY_REQUESTS',
        message: 'Too many requests; try again after Retry-After.',
        details: { policy: 'read', per_minute: 12, burst: 4 },
      },
    })
    // The second that it names is right.
    await until(async () => (await read(key)).status === 200, { timeoutMs: 5_500 })
  })

  it('tells that of submissions where one is made', async () => {
    const key = await world.createKey()
    const policy = `"submit";q=20;w=200`
    expect(ratesOf(await submit(key))).toEqual([policy, '"submit";r=19;t=10'])
    const cancelled = await fetch(`${world.url}/cancel/00000000-0000-4000-8000-000000000000`, {
      method: 'POST',
      headers: key.headers,
    })
    expect(ratesOf(cancelled)).toEqual(['"read";q=4;w=20', '"read";r=3;t=5'])
    expect(ratesOf(await submit(key))).toEqual([policy, '"submit";r=18;t=20'])
  })

  it('lets pages of other origins read it', async () => {
    const key = await world.createKey()
    const answer = await read(key, { headers: { origin: 'https://app.example' } })
    const exposed = answer.headers.get('access-control-expose-headers')?.split(', ')
    expect(exposed).toEqual(
      expect.arrayContaining(['ratelimit', 'ratelimit-policy', 'retry-after']),
    )
  })

  it('counts an event stream once, however long it is read', async () => {
    const key = await world.createKey()
    const { jobId } = await world.putJob({ owner: key.owner, state: 'queued' })
    const hangUp = new AbortController()
    const stream = await fetch(`${world.url}/events/${jobId}`, {
      headers: key.headers,
      signal: hangUp.signal,
    })
    expect(ratesOf(stream)).toEqual(['"read";q=4;w=20', '"read";r=3;t=5'])
    const reader = stream.body?.getReader()
    let text = ''
    // It looks again each second, and each look checks the key.
    await until(async () => {
      text += new TextDecoder().decode((await reader?.read())?.value)
      return text.split(': \n').length > 3
    })
    hangUp.abort()
    expect(ratesOf(await read(key))[1]).toMatch(/^"read";r=[23];/)
  })
})

describe('the rate of an owner', () => {
  it('is the same through two replicas: of 200 uploads at once, a burst is accepted', async () => {
    const key = await world.createKey()
    const form = () => {
      const body = new FormData()
      body.append('image', new Blob([portrait as never]), 'i')
      body.append('audio', new Blob([voice as never]), 'a')
      return body
    }
    const beganMs = performance.now()
    const answers = await Promise.all(
      Array.from({ length: 200 }, async (_, n) => {
        const url = n % 2 === 0 ? world.url : replica.url
        const init = { method: 'POST', body: form(), headers: key.headers }
        const answer = await fetch(`${url}/generate`, init)
        await answer.arrayBuffer()
        return answer
      }),
    )
    const gained = Math.floor((performance.now() - beganMs) / 10_000)
    const answered = (wanted: number) => answers.filter(({ status }) => status === wanted).length
    const accepted = answered(201)
    // A broker that is slow beside 200 uploads: nobody gets in by a token that only one replica knows of.
    const unavailable = answered(503)
    expect(accepted + unavailable).toBeGreaterThanOrEqual(submitBurst)
    expect(accepted).toBeLessThanOrEqual(submitBurst + gained)
    expect(answered(429)).toBe(200 - accepted - unavailable)
  })

  it('touches neither another owner nor the other policy', async () => {
    const [busy, other] = [await world.createKey(), await world.createKey()]
    for (let n = 0; n < submitBurst; n++) expect((await submit(busy)).status).toBe(400)
    expect((await submit(busy)).status).toBe(429)
    expect((await submit(busy, replica.url)).status).toBe(429)
    expect((await submit(other, replica.url)).status).toBe(400)
    expect((await read(busy)).status).toBe(200)
  })

  it('costs the broker next to nothing once it is used up', async () => {
    const received = async () => {
      const answer = await fetch(`${world.nats.monitor}/varz`)
      return ((await answer.json()) as { in_msgs: number }).in_msgs
    }
    const key = await world.createKey()
    for (let n = 0; n < submitBurst; n++) await submit(key)
    const before = await received()
    for (let n = 0; n < 20; n++) {
      const answers = await Promise.all(Array.from({ length: 50 }, () => submit(key)))
      expect(answers.filter(({ status }) => status === 429).length).toBeGreaterThanOrEqual(49)
    }
    // What the services tell the broker anyway, and a look at the key every two seconds.
    expect((await received()) - before).toBeLessThan(200)
  })

  it('is what the operator allows this owner, as soon as that changes', async () => {
    const key = await world.createKey()
    for (let n = 0; n < 4; n++) expect((await read(key, {}, replica.url)).status).toBe(200)
    expect((await read(key, {}, replica.url)).status).toBe(429)
    generous.set(key.owner, { readsPerMinute: 6_000, readBurst: 100, submitBurst: 1 })
    const more = await read(key, {}, replica.url)
    expect(more.status).toBe(200)
    expect(ratesOf(more)[0]).toBe('"read";q=100;w=1')
    expect(ratesOf(await submit(key, replica.url))[0]).toBe('"submit";q=1;w=10')
    expect((await submit(key, replica.url)).status).toBe(429)
  })
})

describe('a request without a valid key', () => {
  const from = (address: string, key = 'ava_live_wrong') =>
    read({ headers: { 'x-forwarded-for': address, authorization: `Bearer ${key}` } })

  it('takes a token of its address, and without one is refused before its key is looked up', async () => {
    const customer = await world.createKey()
    const late = await world.createKey()
    expect((await from('192.0.2.1', customer.key)).status).toBe(200)
    for (let n = 0; n < 3; n++) expect((await from('192.0.2.1')).status).toBe(401)
    const refused = await from('192.0.2.1')
    expect(refused.status).toBe(429)
    expect(ratesOf(refused)).toEqual(['"auth";q=3;w=30', '"auth";r=0;t=10'])
    expect(refused.headers.get('retry-after')).toBe('10')
    expect(await refused.json()).toMatchObject({
      error: { code: 'TOO_MANY_REQUESTS', details: { policy: 'auth' } },
    })
    // A customer who was here before goes on; a key that nobody has seen has to wait.
    expect((await from('192.0.2.1', customer.key)).status).toBe(200)
    expect((await from('192.0.2.1', late.key)).status).toBe(429)
    expect((await from('192.0.2.2', late.key)).status).toBe(200)
    await customer.revoke()
    await until(async () => (await from('192.0.2.1', customer.key)).status === 429)
  })

  it('of one IPv6 network is one address, and of the proxies in front is none', async () => {
    for (const host of ['1', '2', '3:4:5:6'])
      expect((await from(`2001:db8:0:1:${host}${host.includes(':') ? '' : '::'}`)).status).toBe(401)
    expect((await from('2001:db8:0:1::99')).status).toBe(429)
    expect((await from('2001:db8:0:2::99')).status).toBe(401)
    // What a client writes itself stands before what the proxies add.
    expect((await from('203.0.113.9, 2001:db8:0:1::1, fd00::5')).status).toBe(429)
  })

  it('of every kind counts: no key, two keys, a token for events that is none', async () => {
    const headers = { 'x-forwarded-for': '192.0.2.50' }
    expect((await read({ headers })).status).toBe(401)
    const two = { ...headers, authorization: 'Bearer a', 'x-api-key': 'b' }
    expect((await read({ headers: two })).status).toBe(401)
    const events = `${world.url}/events/00000000-0000-4000-8000-000000000000?token=ava_evt_x`
    expect((await fetch(events, { headers })).status).toBe(401)
    expect((await fetch(events, { headers })).status).toBe(429)
    expect((await fetch(`${world.url}/health`, { headers })).status).toBe(200)
  })
})

describe('an upload that is refused for its rate', () => {
  it('is answered before its body, which may then be sent to its end without a reset', async () => {
    const key = await world.createKey()
    for (let n = 0; n < submitBurst; n++) await submit(key)
    const bytes = 50 * 2 ** 20
    const connection = await openConnection(world.url)
    let isReset = false
    connection.socket.on('error', () => {
      isReset = true
    })
    const beganMs = performance.now()
    connection.socket.write(
      `POST /generate HTTP/1.1\r\nhost: x\r\nauthorization: ${key.headers.authorization}\r\n` +
        `content-type: multipart/form-data; boundary=b\r\ncontent-length: ${bytes}\r\n\r\n`,
    )
    await until(() => connection.text.endsWith('}'), { timeoutMs: 5_000 })
    expect(performance.now() - beganMs).toBeLessThan(1_000)
    expect(connection.text).toMatch(/^HTTP\/1\.1 429 .*\r\n/)
    expect(connection.text).toMatch(/\r\nretry-after: 10\r\n/)
    const block = Buffer.alloc(2 ** 20)
    for (let sent = 0; sent < bytes; sent += block.length)
      await new Promise((resolve) => connection.socket.write(block, resolve))
    connection.socket.end()
    await until(() => connection.socket.closed)
    expect(isReset).toBe(false)
    expect(await world.spooled()).toEqual([])
  })
})

describe('while the broker does not answer', () => {
  it('reads go on by what this replica knows, and submissions are refused soon', async () => {
    const key = await world.createKey()
    expect((await submit(key)).status).toBe(400)
    const health = async () => (await fetch(`${world.url}/health`)).status
    process.kill(world.nats.pid(), 'SIGSTOP')
    try {
      await until(async () => !(await world.operator.ping(100)), { what: 'a stopped broker' })
      const refused = await submit(key)
      expect(refused.status).toBe(503)
      expect(await codeOf(refused)).toBe('BROKER_UNAVAILABLE')
      // The list of jobs is in this replica's memory; it is empty.
      const answers = await Promise.all(Array.from({ length: 6 }, () => read(key)))
      expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 200, 200, 200, 429, 429])
    } finally {
      process.kill(world.nats.pid(), 'SIGCONT')
    }
    await until(async () => (await health()) === 200)
    await until(async () => (await submit(await world.createKey())).status === 400)
  })
})
