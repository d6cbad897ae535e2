import { eventSchemas, type JobRecord, jobKey } from '@avatar/contracts'
import { aRender } from '@avatar/contracts/testing'
import { until } from '@avatar/service-kit/testing'
import { Kvm } from '@nats-io/kv'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { wav } from './media-fixtures.ts'
import { portrait, useRestWorld } from './rest-world.ts'

const world = useRestWorld()

const codeOf = (answer: { status: number; body: Record<string, never> }) => {
  const { error } = answer.body as { error?: { code: string } }
  return `${answer.status} ${error?.code ?? 'ok'}`
}
const dataOf = (answer: { body: Record<string, never> }) =>
  answer.body['data'] as unknown as Record<string, unknown>

const rounds = Number(process.env['IDEMPOTENCY_ROUNDS'] || 1)
const askers = 100
/** A night's rounds take longer than a test usually may. */
const roundsTimeoutMs = 480_000 + rounds * 10_000
const together = { created: 0, replayed: 0, conflicted: 0, busy: 0 }
const small = {
  image: await sharp(portrait).resize(160, 160).jpeg().toBuffer(),
  audio: wav({ seconds: 0.5 }),
}

/** Many submissions at once under one key. Who finds the broker busy asks again, as clients do. */
async function askTogether(key: string) {
  const untilServed = () =>
    until(async () => {
      const answer = await world.generate(small, { 'idempotency-key': key })
      if (answer.status !== 503) return answer
      together.busy++
      return undefined
    })
  return Promise.all(Array.from({ length: askers }, untilServed))
}

/** One of the answers made the job, and all others are about the same one, or say that it is being made. */
async function expectOneJob(answers: Awaited<ReturnType<typeof askTogether>>) {
  const of = (status: number) => answers.filter((answer) => answer.status === status)
  const [created, replayed, conflicted] = [of(201), of(200), of(409)]
  expect([created.length, created.length + replayed.length + conflicted.length]).toEqual([
    1,
    askers,
  ])
  together.created += created.length
  together.replayed += replayed.length
  together.conflicted += conflicted.length
  const [jobId, ...others] = new Set(
    [...created, ...replayed].map((answer) => String(dataOf(answer).job_id)),
  )
  expect(others).toEqual([])
  const stored: string[] = []
  for await (const object of world.objects.list(`jobs/${jobId}/`)) stored.push(object.key)
  expect(stored).toHaveLength(2)
  const submitted = `evt.job.submitted.${jobId}`
  expect(await world.operator.readStream('EVENTS', submitted, 1, 10)).toHaveLength(1)
}

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
    expect(status).toMatchObject({ priority: 'normal', waiting_for: 'worker' })
    expect(status.queue_position).toBeGreaterThan(0)
  })

  it('writes the priority into the record only where it was given, and shows it', async () => {
    const jobId = String(dataOf(await world.generate({ fields: { priority: 'high' } })).job_id)
    expect(dataOf(await world.call(`/status/${jobId}`)).priority).toBe('high')
    const plain = String(dataOf(await world.generate()).job_id)
    const [urgent, usual] = await Promise.all(
      [jobId, plain].map((id) => world.jobs.find(jobKey(world.mine.owner, id))),
    )
    expect(urgent?.value.priority).toBe('high')
    expect(usual?.value).not.toHaveProperty('priority')
  })

  it(
    'gives one job to a hundred clients with the same Idempotency-Key at once',
    async () => {
      const roundsMs: number[] = []
      for (let round = 0; round < rounds; round++) {
        const startedAtMs = performance.now()
        await expectOneJob(await askTogether(`together ${round}`))
        roundsMs.push(performance.now() - startedAtMs)
      }
      const { created, replayed, conflicted, busy } = together
      console.log(
        `one key: ${rounds} rounds of ${askers} submissions, ${created} jobs, ${replayed} replays, ` +
          `${conflicted} conflicts, ${busy} asked again after a 503, a round within ` +
          `${(Math.max(...roundsMs) / 1_000).toFixed(1)} s`,
      )
    },
    roundsTimeoutMs,
  )

  it('refuses another request under a used Idempotency-Key of the same owner', async () => {
    const headers = { 'idempotency-key': 'reused' }
    expect((await world.generate({}, headers)).status).toBe(201)
    const other = { fields: { prompt: 'another' } }
    expect(codeOf(await world.generate(other, headers))).toBe('422 IDEMPOTENCY_KEY_REUSED')
    const stranger = await world.createKey()
    expect((await world.generate(other, { ...headers, ...stranger.headers })).status).toBe(201)
  })

  it.each(['expired', 'deleted', 'purged', 'erased from the stream'])(
    'takes an Idempotency-Key again whose record was %s, with the same payload and another',
    async (how) => {
      for (const fields of [{ prompt: 'the same' }, { prompt: 'another' }]) {
        const headers = { 'idempotency-key': `${how} ${fields.prompt}` }
        const first = await world.generate({ fields: { prompt: 'the same' } }, headers)
        const jobId = String(dataOf(first).job_id)
        const key = jobKey(world.mine.owner, jobId)
        const { value: job, revision } = (await world.jobs.find(key)) ?? {}
        const bucket = await new Kvm(world.raw.connection).open('job')
        if (how === 'deleted') await bucket.delete(key)
        else if (how === 'purged') await bucket.purge(key)
        else if (how.startsWith('erased'))
          await world.raw.manager.streams.purge('KV_job', { filter: `$KV.job.${key}` })
        else
          await world.jobs.update(key, { ...(job as JobRecord) }, Number(revision), {
            ttlMs: 1_000,
          })
        await until(async () => (await world.jobs.find(key)) === undefined)

        expect(codeOf(await world.generate({ fields }, headers))).toBe('201 ok')
        const again = await world.generate({ fields }, headers)
        expect([again.status, dataOf(again).job_id]).toEqual([200, jobId])
        const other = { fields: { prompt: 'neither' } }
        expect(codeOf(await world.generate(other, headers))).toBe('422 IDEMPOTENCY_KEY_REUSED')
        const submitted = `evt.job.submitted.${jobId}`
        expect(await world.operator.readStream('EVENTS', submitted, 1, 10)).toHaveLength(2)
      }
    },
  )

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

  it('gives links that play, save and inspect the video, and a redirect to each', async () => {
    const done = { state: 'completed', result: aRender(), finishedAtMs: Date.now() } as const
    await world.putObject(done.result.key, Buffer.from('a video'))
    const { jobId } = await world.putJob({ ...done, expiresAtMs: Date.now() + 60_000 })
    const links = dataOf(await world.call(`/result/${jobId}`))
    const video = `${world.url}/result/${jobId}/video`
    const { headers } = world.mine
    for (const [url, method, disposition, init] of [
      [links['url'], 'GET', 'inline', {}],
      [links['download_url'], 'GET', 'attachment', {}],
      [links['head_url'], 'HEAD', 'inline', {}],
      [video, 'GET', 'inline', { headers }],
      [`${video}?download=1`, 'GET', 'attachment', { headers }],
      [video, 'HEAD', 'inline', { headers }],
    ] as const) {
      const answer = await fetch(String(url), { method, ...init })
      expect(answer.status, String(url)).toBe(200)
      expect(new URL(answer.url).hostname).toBe('localhost') // The store's public address.
      expect(answer.headers.get('content-type')).toBe('video/mp4')
      const fileName = `avatar-${jobId.slice(0, 8)}.mp4`
      const expected = `${disposition}; filename="${fileName}"`
      expect(answer.headers.get('content-disposition')).toBe(expected)
    }
    expect((await fetch(video)).status).toBe(401)
    const running = await world.putJob({ state: 'rendering', epoch: 1 })
    expect(codeOf(await world.call(`/result/${running.jobId}/video`))).toBe('409 JOB_NOT_COMPLETED')
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
    const fact = { jobId, owner, revision: 1, atMs: job.createdAtMs }
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
      '/events/{job_id}/token',
      '/generate',
      '/health',
      '/jobs',
      '/result/{job_id}',
      '/result/{job_id}/video',
      '/status/{job_id}',
      '/usage',
    ])
    expect((await open('/docs/')).status).toBe(200)
  })
})
