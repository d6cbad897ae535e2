import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { type FakeRunPod, isAlive, startFakeRunPod, until } from '../harness/index.ts'

const file = resolve(import.meta.dirname, '../../deploy/runpod/endpoint.json')

// Each test names what it expects; anything may be asked of it.
const saidSchema = z.custom<ReturnType<typeof JSON.parse>>()

/** The fake of RunPod does what the documents of the original say; its workers only wait here. */
describe('the endpoint of RunPod', () => {
  let fake: FakeRunPod
  beforeEach(async () => {
    fake = await startFakeRunPod({
      command: ['sleep', '600'],
      max: 2,
      idleMs: 0,
      timesDivisor: 100,
      perMinute: 20,
      pollMs: 500,
      secrets: { WORD: 'open sesame' },
    })
  })
  afterEach(() => fake.stop())

  async function ask(method: string, path: string, body?: unknown, key = fake.apiKey) {
    const response = await fetch(`${fake.url}/v2/${path}`, {
      method,
      headers: { authorization: `Bearer ${key}` },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const said = saidSchema.parse(await response.json())
    return { status: response.status, headers: response.headers, said }
  }
  const endpoint = () => `serverless/${fake.endpointId}`
  const ring = (wakeId = 'a'.repeat(24), policy: object = {}) =>
    ask('POST', `${fake.endpointId}/run`, { input: { kind: 'drain', wakeId }, policy })
  const statusOf = async (id: string) => (await ask('GET', `${fake.endpointId}/status/${id}`)).said

  it('is as our file describes it, which holds no secret', async () => {
    const wanted = JSON.parse(await readFile(file, 'utf8'))
    const { status, said } = await ask('PATCH', endpoint(), wanted)
    expect(status).toBe(200)
    expect(said).toMatchObject(wanted)
    expect(wanted.env.NATS_PASSWORD).toMatch(/^\{\{ RUNPOD_SECRET_\w+ \}\}$/)
    const names = Object.keys(wanted.env).filter((name) => /KEY|SECRET|R2_|S3_/.test(name))
    expect(names).toEqual([])
    expect((await ask('GET', `${endpoint()}/releases`)).said.releases).toHaveLength(1)
  })

  it('is patched field by field, but for its environment, which is replaced whole', async () => {
    await ask('PATCH', endpoint(), { env: { A: '1', B: '2' } })
    await ask('PATCH', endpoint(), { workers: { max: 4 } })
    expect((await ask('GET', endpoint())).said).toMatchObject({
      env: { A: '1', B: '2' },
      workers: { min: 0, max: 4 },
    })
    await ask('PATCH', endpoint(), { env: { A: '3' } })
    expect((await ask('GET', endpoint())).said.env).toEqual({ A: '3' })
  })

  it('refuses what it does not know, with problem details', async () => {
    const unknown = await ask('PATCH', endpoint(), { wokers: { max: 4 } })
    expect(unknown.status).toBe(422)
    expect(unknown.headers.get('content-type')).toBe('application/problem+json')
    expect(unknown.said).toMatchObject({ status: 422, title: expect.any(String) })
    const idle = await ask('PATCH', endpoint(), { workers: { idleTimeout: 5 } })
    expect(idle.status).toBe(400)
    expect((await ask('GET', endpoint(), undefined, 'rpa_other')).status).toBe(401)
    expect((await ask('GET', 'serverless/another')).status).toBe(404)
    for (let left = 20; left > 0; left -= 1) await ask('GET', endpoint())
    const late = await ask('GET', endpoint())
    expect([late.status, Number(late.headers.get('retry-after'))]).toEqual([429, 2])
  })

  it('starts a process for each doorbell, at most its maximum, and stops them afterwards', async () => {
    const ids: string[] = []
    for (let left = 3; left > 0; left -= 1) ids.push((await ring()).said.id)
    await until(() => fake.fleet.running().length === 2, { what: 'two workers' })
    const { said } = await ask('GET', `${endpoint()}/workers`)
    expect(said.summary).toMatchObject({ initializing: 2, total: 2 })
    const pids = fake.control.show().workers.map(({ pid }) => pid ?? 0)
    for (const id of ids) await ask('POST', `${fake.endpointId}/cancel/${id}`)
    expect((await statusOf(ids[0] ?? '')).status).toBe('CANCELLED')
    fake.control.act({ kill: 'any' })
    await until(() => fake.fleet.running().length < 2, { what: 'the end of one that was killed' })
    await fake.stop()
    expect(pids.filter(isAlive)).toEqual([])
    expect(fake.fleet.workedMs()).toBeGreaterThan(0)
  })

  it('forgets a doorbell when its time to live is over, and takes none of a strange shape', async () => {
    fake.control.act({ max: 0 })
    const kept = (await ring('a'.repeat(24), { ttl: 86_400_000 })).said.id
    const forgotten = (await ring('b'.repeat(24), { ttl: 10_000 })).said.id
    await until(async () => (await statusOf(forgotten)).status === 404, { what: 'its end' })
    expect((await statusOf(kept)).status).toBe('IN_QUEUE')
    expect(fake.fleet.all()).toEqual([])
    expect((await ring('a'.repeat(24), { ttl: 9 })).status).toBe(422)
  })

  it('misbehaves on demand', async () => {
    const { troubles } = fake
    troubles.plan(['429', '500', 'lost', 'doubled', 'well'])
    fake.control.act({ isThrottled: true })
    expect((await ring()).status).toBe(429)
    expect((await ring()).status).toBe(500)
    expect((await statusOf((await ring()).said.id)).status).toBe(404)
    await ring()
    expect(fake.control.show().jobs).toHaveLength(2)
    await ring()
    const throttled = async () => (await ask('GET', `${endpoint()}/workers`)).said.summary.throttled
    await until(async () => (await throttled()) === 2, { what: 'workers without a GPU' })
    fake.control.act({ spell: 'no-credit' })
    expect((await ring()).status).toBe(402)
    troubles.plan(['reply-lost'])
    await expect(ring()).rejects.toThrow()
    expect(fake.control.show().jobs).toHaveLength(4)
  })
})
