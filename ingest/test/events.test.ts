import { execFile } from 'node:child_process'
import { type Beat, type HealthView, limits, streams, subjects } from '@avatar/contracts'
import { aRender } from '@avatar/contracts/testing'
import { until } from '@avatar/service-kit/testing'
import { describe, expect, it } from 'vitest'
import { openConnection } from './raw-connection.ts'
import { useRestWorld } from './rest-world.ts'

const world = useRestWorld()

/** An open event stream, with its text as it arrives. */
async function follow(jobId: string, headers: Record<string, string> = {}) {
  const abort = new AbortController()
  const response = await fetch(`${world.url}/events/${jobId}`, {
    headers: { ...world.mine.headers, ...headers },
    signal: abort.signal,
  })
  const { status, headers: answered } = response
  const stream = { status, headers: answered, text: '', isOver: false, close: () => abort.abort() }
  const decoder = new TextDecoder()
  const read = async () => {
    for await (const chunk of response.body ?? []) stream.text += decoder.decode(chunk)
  }
  void read()
    .catch(() => undefined)
    .then(() => {
      stream.isOver = true
    })
  return stream
}

const eventsIn = (text: string) => [...text.matchAll(/^event: (.+)$/gm)].map(([, name]) => name)
const idsIn = (text: string) => [...text.matchAll(/^id: (.+)$/gm)].map(([, id]) => String(id))
const lastIdIn = (text: string) => idsIn(text).at(-1) ?? ''

const publish = (
  jobId: string,
  type: 'job.submitted' | 'job.started' | 'job.completed',
  epoch = 0,
) =>
  world.operator.publish(`evt.${type}.${jobId}`, {
    ...{ type, epoch, jobId, owner: world.mine.owner, revision: 1, atMs: Date.now() },
    ...(type === 'job.completed' ? { result: aRender() } : {}),
  })

function beat(
  jobId: string,
  percent: number,
  state: Beat['state'] = 'rendering',
  trouble?: string,
) {
  const { owner } = world.mine
  const body: Beat = {
    workerId: 'w1',
    incarnation: 'i1',
    engine: 'preview',
    ...{ state, trouble },
    secondsPerVideoSecond: 0.5,
    atMs: Date.now(),
    jobs: [
      {
        ...{ jobId, owner, epoch: 1, stage: 'rendering', percent },
        ...{ renderedForSeconds: 1, deadlineSeconds: 600 },
      },
    ],
  }
  world.operator.publishCore(subjects.beat('w1'), body)
}

describe('the event stream', () => {
  it('sends facts as they happen, and progress from heartbeats', async () => {
    const { jobId } = await world.putJob({ state: 'rendering', epoch: 1, startedAtMs: Date.now() })
    await publish(jobId, 'job.submitted')
    const stream = await follow(jobId)
    await until(() => stream.text.includes('event: submitted'))
    await publish(jobId, 'job.started', 1)
    await until(() => stream.text.includes('event: started'))
    beat(jobId, 42)
    await until(() => stream.text.includes('"progress":42'))
    const status = await world.call(`/status/${jobId}`)
    expect(status.body['data']).toMatchObject({ stage: 'rendering', progress: 42, attempt: 1 })
    await publish(jobId, 'job.completed', 1)
    await until(() => stream.isOver)
    expect(stream.text.match(/^event: .+/gm)?.at(-1)).toBe('event: completed')
  })

  it('is a 204 for a client that has the terminal event and connects again', async () => {
    const done = { state: 'completed', result: aRender(), finishedAtMs: Date.now() } as const
    const { jobId } = await world.putJob({ ...done, expiresAtMs: Date.now() + 60_000 })
    await publish(jobId, 'job.submitted')
    await publish(jobId, 'job.completed', 1)
    await publish(jobId, 'job.completed', 1) // A handler that ran twice.
    const first = await follow(jobId)
    await until(() => first.isOver)
    const again = await follow(jobId, { 'last-event-id': lastIdIn(first.text) })
    expect(again.status).toBe(204)
    expect(again.headers.get('cache-control')).toBe('no-store')
    await until(() => again.isOver)
    expect(again.text).toBe('')
  })

  it('ends with the terminal event also when the broker has it no more, and then is a 204', async () => {
    const finishedAtMs = Date.now() - streams.EVENTS.maxAgeMs
    const { jobId } = await world.putJob({ state: 'cancelled', finishedAtMs })
    const first = await follow(jobId)
    await until(() => first.isOver)
    expect(eventsIn(first.text)).toEqual(['cancelled'])
    const again = await follow(jobId, { 'last-event-id': lastIdIn(first.text) })
    expect(again.status).toBe(204)
  })

  it('is neither cached nor buffered', async () => {
    const { jobId } = await world.putJob()
    const stream = await follow(jobId)
    expect(Object.fromEntries(stream.headers)).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    })
    stream.close()
  })

  it('does not show the facts of an earlier job under the same id', async () => {
    const done = { state: 'completed', result: aRender(), finishedAtMs: Date.now() } as const
    const { jobId } = await world.putJob({ ...done, expiresAtMs: Date.now() + 60_000, epoch: 3 })
    for (const epoch of [0, 2]) {
      await publish(jobId, 'job.submitted', epoch)
      await publish(jobId, 'job.completed', epoch + 1)
    }
    const stream = await follow(jobId)
    await until(() => stream.isOver)
    expect(stream.text.match(/^event: .+/gm)).toEqual(['event: submitted', 'event: completed'])
  })

  it('waits for a terminal event that is not published yet', async () => {
    const done = { state: 'completed', result: aRender(), finishedAtMs: Date.now() } as const
    const { jobId } = await world.putJob({ ...done, expiresAtMs: Date.now() + 60_000 })
    const stream = await follow(jobId)
    await publish(jobId, 'job.submitted')
    await until(() => stream.text.includes('event: submitted'))
    expect(stream.isOver).toBe(false)
    await publish(jobId, 'job.completed', 1)
    await until(() => stream.isOver)
  })

  it.each(['-5', 'nonsense', '1.5', '1e999', '900000000', '2', 'end'])(
    'shows the job as it is and goes on after an id that we never gave: %s',
    async (id) => {
      const { jobId } = await world.putJob({ state: 'rendering', epoch: 1 })
      for (const other of [jobId, (await world.putJob()).jobId])
        await publish(other, 'job.submitted')
      await publish(jobId, 'job.started', 1)
      const stream = await follow(jobId, { 'last-event-id': id })
      await until(() => stream.text.includes('event: progress'))
      expect(eventsIn(stream.text)).toEqual(['started', 'progress'])
      await publish(jobId, 'job.completed', 1)
      await until(() => stream.isOver)
      expect(eventsIn(stream.text)).toEqual(['started', 'progress', 'completed'])
      const late = await follow(jobId, { 'last-event-id': id })
      await until(() => late.isOver)
      expect(eventsIn(late.text)).toEqual(['completed'])
    },
  )

  it('begins at the beginning without an id, and after the given id otherwise', async () => {
    const { jobId } = await world.putJob({ state: 'rendering', epoch: 1 })
    await publish(jobId, 'job.submitted')
    await publish(jobId, 'job.started', 1)
    await publish(jobId, 'job.started', 1) // A handler that ran twice.
    const ids: string[] = []
    for (const [id, events] of [
      ['', ['submitted', 'started', 'progress']],
      ['0', ['started', 'progress']],
      ['1', ['progress']],
    ] as const) {
      const stream = await follow(jobId, { 'last-event-id': ids[Number(id)] ?? id })
      await until(() => stream.text.includes('event: progress'))
      expect(eventsIn(stream.text)).toEqual(events)
      if (id === '') ids.push(...idsIn(stream.text))
      stream.close()
    }
  })

  it('ends when its key is revoked', async () => {
    const { headers, owner, revoke } = await world.createKey()
    const { jobId } = await world.putJob({ owner })
    const stream = await follow(jobId, headers)
    await until(() => stream.text.includes('retry'))
    await revoke()
    await until(() => stream.isOver, { timeoutMs: 5_000 })
  })

  it('does not answer HEAD requests', async () => {
    const { jobId } = await world.putJob()
    const { headers } = world.mine
    const answer = await fetch(`${world.url}/events/${jobId}`, { method: 'HEAD', headers })
    expect(answer.status).toBe(405)
  })

  it('is refused past the limit of open streams per owner', async () => {
    const { jobId } = await world.putJob()
    const streams = await Promise.all(
      Array.from({ length: limits.sseStreamsPerOwner }, () => follow(jobId)),
    )
    const refused = await world.call(`/events/${jobId}`)
    expect(refused.status).toBe(429)
    expect(refused.headers.get('retry-after')).toBe('2')
    expect(refused.body['error']).toMatchObject({
      message: expect.stringContaining('event streams open'),
      details: { max_streams: limits.sseStreamsPerOwner },
    })
    for (const stream of streams) stream.close()
    const reopened = await until(async () => {
      const stream = await follow(jobId)
      stream.close()
      return stream.status === 200
    })
    expect(reopened).toBe(true)
  })
})

describe('a token for the event stream', () => {
  /** Makes a token by the world's own key. */
  async function tokenFor(jobId: string) {
    const answer = await world.call(`/events/${jobId}/token`, { method: 'POST' })
    expect(answer.status).toBe(201)
    expect(answer.headers.get('cache-control')).toBe('no-store')
    return answer.body['data'] as unknown as { token: string; url: string; expires_at: string }
  }
  const ask = async (path: string) => {
    const answer = await fetch(world.url + path)
    const { error } = (await answer.json()) as { error: { code: string; message: string } }
    return { status: answer.status, ...error }
  }

  it('opens the stream of its job without a header, also under the id in capital letters', async () => {
    const { jobId } = await world.putJob({ state: 'cancelled', finishedAtMs: 1 })
    const { token, url, expires_at } = await tokenFor(jobId.toUpperCase())
    expect(url).toBe(`/events/${jobId}?token=${token}`)
    expect(Date.parse(expires_at)).toBeGreaterThan(Date.now())
    for (const path of [url, url.replace(jobId, jobId.toUpperCase())]) {
      const answer = await fetch(world.url + path)
      expect(answer.status).toBe(200)
      expect(eventsIn(await answer.text())).toEqual(['cancelled'])
    }
  })

  it('opens neither another job, nor another route, and is for an owner alone', async () => {
    const { jobId } = await world.putJob({ state: 'completed', result: aRender() })
    const { token } = await tokenFor(jobId)
    const other = await world.putJob()
    for (const path of [
      `/events/${other.jobId}`,
      `/status/${jobId}`,
      `/result/${jobId}`,
      `/result/${jobId}/video`,
      '/jobs',
    ])
      expect(await ask(`${path}?token=${token}`)).toMatchObject({
        status: 401,
        code: 'UNAUTHORIZED',
      })
    expect(await ask(`/events/${jobId}?token=${token}x`)).toMatchObject({
      ...{ status: 401, message: expect.stringContaining('not valid for this job') },
    })
    expect(await ask(`/events/${jobId}?token=${token}&token=${token}`)).toMatchObject({
      status: 401,
    })
    const bearer = { authorization: `Bearer ${token}` }
    expect((await world.call('/jobs', { headers: bearer })).status).toBe(401)
    const { headers } = await world.createKey()
    const stranger = await world.call(`/events/${jobId}/token`, { method: 'POST', headers })
    expect(stranger.status).toBe(404)
  })

  it('appears in no log line, whatever becomes of the request', async () => {
    const { jobId } = await world.putJob({ state: 'cancelled', finishedAtMs: 1 })
    const { token, url } = await tokenFor(jobId)
    const signature = token.slice(-40)
    await (await fetch(world.url + url)).text()
    await ask(`/events/not-an-id?token=${token}`)
    await ask(`/events/${jobId}/nowhere?token=${token}`)
    await ask(`/events/%?token=${token}`)
    await ask(`/events/${'x'.repeat(300)}?token=${token}`)
    const logged = world.logged('request refused')
    expect(logged.length).toBeGreaterThan(3)
    expect(world.log()).not.toContain(signature)
  })

  it('lets EventSource follow a job to its end, and give up then', async () => {
    const { jobId } = await world.putJob({ state: 'rendering', epoch: 1 })
    await publish(jobId, 'job.submitted')
    const { url } = await tokenFor(jobId)
    // It prints the name of each event, and `closed` when it will not connect again.
    const script = `
      const source = new EventSource(process.argv[1])
      for (const name of ['submitted', 'started', 'completed'])
        source.addEventListener(name, () => console.log(name))
      source.onerror = () => source.readyState === EventSource.CLOSED && console.log('closed')
      setInterval(() => undefined, 60_000) // Its wait before it connects again does not keep Node alive.
    `
    const node = [process.execPath, '--experimental-eventsource', '--no-warnings'] as const
    const client = execFile(node[0], [...node.slice(1), '-e', script, world.url + url])
    let printed = ''
    client.stdout?.on('data', (chunk) => {
      printed += chunk
    })
    await until(() => printed.includes('submitted'))
    await publish(jobId, 'job.started', 1)
    await publish(jobId, 'job.completed', 1)
    await until(() => printed.includes('closed'))
    client.kill()
    expect(printed).toBe('submitted\nstarted\ncompleted\nclosed\n')
  })
})

describe('the stage of a waiting job', () => {
  it('depends on whether a worker takes jobs', async () => {
    const { jobId } = await world.putJob({ state: 'queued', queuedAtMs: Date.now() })
    const stage = async () => {
      const { body } = await world.call(`/status/${jobId}`)
      return (body['data'] as unknown as { stage: string }).stage
    }
    beat(jobId, 0, 'draining')
    await until(async () => (await stage()) === 'waiting_for_worker')
    beat(jobId, 0, 'ready')
    await until(async () => (await stage()) === 'queued')
    const { body } = await world.call('/health')
    expect(body['data']).toMatchObject({
      workers: [{ engine: 'preview', state: 'ready', seen_seconds_ago: expect.any(Number) }],
      queue_depth: expect.any(Number),
    })
    expect(JSON.stringify(body)).not.toContain('w1')
  })

  it('is explained by /health while no worker can render it', async () => {
    const { jobId } = await world.putJob({ state: 'queued', queuedAtMs: Date.now() })
    const health = async () => {
      const { status, body } = await world.call('/health')
      return { httpStatus: status, ...(body['data'] as unknown as HealthView) }
    }
    const become = (wanted: HealthView['status']) =>
      until(async () => {
        const seen = await health()
        return seen.status === wanted && seen
      })
    beat(jobId, 0, 'loading', 'FFMPEG_PATH names no program')
    const sick = await become('degraded')
    expect(sick.httpStatus).toBe(200)
    expect(sick.workers[0]?.trouble).toBe('FFMPEG_PATH names no program')
    expect(sick.worker_trouble).toContain('FFMPEG_PATH names no program')
    beat(jobId, 0, 'loading')
    expect((await become('ok')).worker_trouble).toBeNull()
    beat(jobId, 0, 'draining')
    expect((await become('degraded')).worker_trouble).toMatch(/about to end, and jobs wait: \d+/)
    beat(jobId, 0, 'ready')
    await become('ok')
  })

  it('still follows heartbeats after an invalid one', async () => {
    world.raw.connection.publish('beat.w1', 'no json')
    await world.raw.connection.flush()
    world.operator.publishCore('beat.w1', { workerId: 'w1' })
    const { jobId } = await world.putJob({ state: 'queued', queuedAtMs: Date.now() })
    beat(jobId, 0, 'ready')
    await until(async () => {
      const { body } = await world.call(`/status/${jobId}`)
      return (body['data'] as unknown as { stage: string }).stage === 'queued'
    })
  })
})

describe('a request', () => {
  it('continues the caller’s trace in the answer and the record', async () => {
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
    const headers = { traceparent: `00-${traceId}-00f067aa0ba902b7-01` }
    const answer = await world.generate({}, headers)
    expect(answer.headers.get('traceparent')).toMatch(new RegExp(`^00-${traceId}-`))
    const { job_id } = answer.body['data'] as unknown as { job_id: string }
    const status = await world.call(`/status/${job_id}`)
    expect(status.body['data']).toMatchObject({ trace_id: traceId })
  })

  it('may have an empty body of any type on a route that takes none', async () => {
    const { jobId } = await world.putJob({ state: 'queued' })
    for (const type of ['application/json', 'application/x-www-form-urlencoded']) {
      const headers = { 'content-type': type }
      const answer = await world.call(`/cancel/${jobId}`, { method: 'POST', headers })
      expect(answer.status).toBe(503)
    }
  })

  it('is allowed by preflight for listed origins only', async () => {
    const preflight = async (origin: string) => {
      const headers = { origin, 'access-control-request-method': 'POST' }
      const answer = await fetch(`${world.url}/generate`, { method: 'OPTIONS', headers })
      return answer.headers.get('access-control-allow-origin')
    }
    expect(await preflight('https://app.example')).toBe('https://app.example')
    expect(await preflight('https://evil.example')).toBeNull()
  })

  it('is described in the OpenAPI document with the fields that an upload is parsed by', async () => {
    const document = (await (await fetch(`${world.url}/openapi.json`)).json()) as {
      paths: Record<string, { post: { requestBody: { content: Record<string, never> } } }>
    }
    const { content } = document.paths['/generate']?.post.requestBody ?? { content: {} }
    expect(content).toMatchObject({
      'multipart/form-data': {
        schema: {
          // Beside it an image or a video.
          required: ['audio'],
          properties: {
            ...{ image: {}, audio: {}, prompt: { maxLength: 2_000 }, seed: { minimum: 0 } },
            priority: { enum: ['high', 'normal'] },
          },
        },
      },
    })
  })
})

/** A connection in the middle of a request, which the closing of idle ones leaves alone. */
async function beginRequest() {
  const connection = await openConnection(world.url)
  connection.socket.write('GET /health HTTP/1.1\r\n')
  return connection
}

describe('closing the service', () => {
  it('ends open streams and finishes uploads in bounded time', async () => {
    const kept = await beginRequest()
    const { jobId } = await world.putJob({ state: 'queued' })
    const stream = await follow(jobId)
    await until(() => stream.text.includes('retry'))
    // Its checks take longer than the listener takes to close.
    const uploading = world.generate()
    await until(async () => (await world.spooled()).length === 1)
    const began = performance.now()
    const closing = world.app.close()
    await until(() => !world.app.server.listening)
    kept.socket.write('host: x\r\n\r\n')
    expect((await uploading).status).toBe(201)
    await closing
    expect(performance.now() - began).toBeLessThan(30_000)
    await until(() => stream.isOver)
    expect(await until(() => kept.text)).toContain('"code":"DRAINING"')
  })
})
