import { eventSchemas, jobKey } from '@avatar/contracts'
import { aRender } from '@avatar/contracts/testing'
import { until } from '@avatar/service-kit/testing'
import { describe, expect, it } from 'vitest'
import { useRestWorld } from './rest-world.ts'

const world = useRestWorld()

const codeOf = (answer: { status: number; body: Record<string, never> }) => {
  const { error } = answer.body as { error?: { code: string } }
  return `${answer.status} ${error?.code ?? 'ok'}`
}
const dataOf = (answer: { body: Record<string, never> }) =>
  answer.body['data'] as unknown as Record<string, unknown>

describe('POST /generate', () => {
  it('answers 201 with a job whose inputs are stored and whose submission is announced', async () => {
    const answer = await world.generate({ fields: { prompt: 'hello', seed: '5' } })
    expect(answer.status).toBe(201)
    const data = dataOf(answer)
    const jobId = String(data.job_id)
    expect(answer.headers.get('location')).toBe(`/status/${jobId}`)
    expect(data).toMatchObject({ status: 'pending', audio_seconds: 7.1 })
    const job = (await world.jobs.find(jobKey(world.mine.owner, jobId)))?.value
    expect(job).toMatchObject({ prompt: 'hello', seed: 5, frames: 178, state: 'pending' })
    expect((await world.objects.head(job?.image.key ?? ''))?.bytes).toBe(job?.image.bytes)
    expect((await world.objects.head(job?.audio.key ?? ''))?.sha256).toBe(job?.audio.sha256)
    const [event] = await world.operator.readStream('EVENTS', `evt.*.*.${jobId}`, 1, 10)
    expect(eventSchemas['job.submitted'].parse(event?.body).jobId).toBe(jobId)
    // The answer does not wait for the folder's removal.
    await until(async () => (await world.spooled()).length === 0)
  })

  it('makes the status readable at once, without an orchestrator', async () => {
    const jobId = String(dataOf(await world.generate()).job_id)
    const status = dataOf(await world.call(`/status/${jobId}`))
    expect(status).toMatchObject({ status: 'pending', stage: 'accepted', attempt: 0, progress: 0 })
  })

  it('gives one job to twenty clients with the same Idempotency-Key at once', async () => {
    const headers = { 'idempotency-key': 'twenty' }
    const answers = await Promise.all(Array.from({ length: 20 }, () => world.generate({}, headers)))
    expect(new Set(answers.map((answer) => dataOf(answer).job_id)).size).toBe(1)
    expect(answers.map(({ status }) => status).sort()).toEqual([...Array(19).fill(200), 201])
    const jobId = String(dataOf(answers[0] as never).job_id)
    const stored: string[] = []
    for await (const object of world.objects.list(`jobs/${jobId}/`)) stored.push(object.key)
    expect(stored).toHaveLength(2)
  }, 60_000)

  it('refuses another request under a used Idempotency-Key of the same owner', async () => {
    const headers = { 'idempotency-key': 'reused' }
    expect((await world.generate({}, headers)).status).toBe(201)
    const other = { fields: { prompt: 'another' } }
    expect(codeOf(await world.generate(other, headers))).toBe('422 IDEMPOTENCY_KEY_REUSED')
    const stranger = await world.createKey()
    expect((await world.generate(other, { ...headers, ...stranger.headers })).status).toBe(201)
  })

  it('distinguishes malformed multipart from other media types', async () => {
    const post = (type: string, body: string) =>
      world.call('/generate', { method: 'POST', headers: { 'content-type': type }, body })
    expect(codeOf(await post('application/json', '{}'))).toBe('415 UNSUPPORTED_MEDIA_TYPE')
    expect(codeOf(await post('multipart/form-data', 'x'))).toBe('400 MALFORMED_MULTIPART')
    const cut = '--abc\r\ncontent-disposition: form-data; name="image"; filename="i"\r\n\r\nhalf'
    expect(codeOf(await post('multipart/form-data; boundary=abc', cut))).toBe(
      '400 MALFORMED_MULTIPART',
    )
  })
})

describe('an API key', () => {
  it('is a 401 when it is missing, malformed, unknown or revoked', async () => {
    const revoked = await world.createKey({ revokedAtMs: 1 })
    const unknown = `${world.mine.key.slice(0, 9)}000000000000${world.mine.key.slice(21)}`
    for (const authorization of [
      '',
      'Bearer nonsense',
      `Bearer ${unknown}`,
      `Bearer ${revoked.key}`,
    ])
      expect(codeOf(await world.call('/jobs', { headers: { authorization } }))).toBe(
        '401 UNAUTHORIZED',
      )
  })

  it('stops working within five seconds of its revocation', async () => {
    const { headers, revoke } = await world.createKey()
    expect((await world.call('/jobs', { headers })).status).toBe(200)
    await revoke()
    await until(async () => (await world.call('/jobs', { headers })).status === 401, {
      timeoutMs: 5_000,
    })
  })
})

describe('reading', () => {
  it('gives a 409 before the end, a link after it, and a 410 from the expiry on', async () => {
    const running = await world.putJob({ state: 'rendering', epoch: 1 })
    expect(codeOf(await world.call(`/result/${running.jobId}`))).toBe('409 JOB_NOT_COMPLETED')
    const done = { state: 'completed', result: aRender(), finishedAtMs: Date.now() } as const
    const video = Buffer.from('a video')
    await world.putObject(done.result.key, video)
    const fresh = await world.putJob({ ...done, expiresAtMs: Date.now() + 60_000 })
    const result = await world.call(`/result/${fresh.jobId}`)
    expect(dataOf(result)).toMatchObject({
      engine: 'preview',
      engine_facts: { device: 'cpu', precision: 'uint8', attention_backend: 'none' },
      width: 1280,
      fps: 25,
    })
    // The link names the public address, and the store accepts its signature there.
    const url = new URL(String(dataOf(result).url))
    expect(url.origin).toBe(world.s3.endpoint.replace('127.0.0.1', 'localhost'))
    expect(Buffer.from(await (await fetch(url)).arrayBuffer())).toEqual(video)
    const expired = await world.putJob({ ...done, expiresAtMs: Date.now() - 1 })
    expect(codeOf(await world.call(`/result/${expired.jobId}`))).toBe('410 RESULT_DELETED')
  })

  it('pages through the caller’s jobs, newest first', async () => {
    const { headers, owner } = await world.createKey()
    const ids: string[] = []
    for (let i = 0; i < 5; i++)
      ids.unshift((await world.putJob({ owner, createdAtMs: 1_700_000_000_000 + i })).jobId)
    await until(() => world.board.listOf(owner, undefined, 10).length === 5)
    const seen: string[] = []
    let cursor: string | null = ''
    while (cursor !== null) {
      const data = dataOf(
        await world.call(`/jobs?limit=2${cursor && `&cursor=${cursor}`}`, { headers }),
      ) as unknown as { jobs: { job_id: string }[]; next_cursor: string | null }
      seen.push(...data.jobs.map((job) => job.job_id))
      cursor = data.next_cursor
    }
    expect(seen).toEqual(ids)
    const broken = await world.call('/jobs?cursor=nonsense', { headers })
    expect(codeOf(broken)).toBe('400 INVALID_REQUEST')
  })

  it('replays the events of a finished job after Last-Event-ID, and ends', async () => {
    const job = await world.putJob({ state: 'completed', result: aRender(), expiresAtMs: 9e12 })
    const { jobId, owner } = job
    const fact = { jobId, owner, revision: 1, atMs: 1 }
    for (const [type, epoch] of [
      ['job.submitted', 0],
      ['job.queued', 0],
      ['job.started', 1],
      ['job.started', 1],
      ['job.completed', 1],
    ] as const)
      await world.operator.publish(`evt.${type}.${jobId}`, { type, epoch, ...fact })
    const read = async (headers: Record<string, string> = {}) => {
      const response = await fetch(`${world.url}/events/${jobId}`, {
        headers: { ...world.mine.headers, ...headers },
      })
      const text = await response.text()
      const ids = [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id))
      return { ids, names: [...text.matchAll(/^event: (.+)$/gm)].map(([, name]) => name) }
    }
    const whole = await read()
    expect(whole.names).toEqual(['submitted', 'queued', 'started', 'completed'])
    const rest = await read({ 'last-event-id': String(whole.ids[1]) })
    expect(rest.names).toEqual(['started', 'completed'])
  })

  it('goes on when every part of the service is started twice', async () => {
    for (const part of world.parts) await part.start()
    expect(codeOf(await world.generate())).toBe('201 ok')
  })

  it('serves health, the OpenAPI document and its pages without a key', async () => {
    const open = async (path: string) => fetch(world.url + path)
    expect((await open('/health')).status).toBe(200)
    const document = (await (await open('/openapi.json')).json()) as {
      openapi: string
      paths: Record<string, unknown>
    }
    expect(document.openapi).toBe('3.1.0')
    expect(Object.keys(document.paths).sort()).toEqual([
      '/cancel/{job_id}',
      '/events/{job_id}',
      '/generate',
      '/health',
      '/jobs',
      '/result/{job_id}',
      '/status/{job_id}',
    ])
    expect((await open('/docs/')).status).toBe(200)
  })
})
