import { once } from 'node:events'
import { connect } from 'node:net'
import { type Beat, limits, subjects } from '@avatar/contracts'
import { aRender } from '@avatar/contracts/testing'
import { until } from '@avatar/service-kit/testing'
import { describe, expect, it } from 'vitest'
import { useRestWorld } from './rest-world.ts'

const world = useRestWorld()

/** An open event stream, with its text as it arrives. */
async function follow(jobId: string, headers: Record<string, string> = {}) {
  const abort = new AbortController()
  const response = await fetch(`${world.url}/events/${jobId}`, {
    headers: { ...world.mine.headers, ...headers },
    signal: abort.signal,
  })
  const stream = { status: response.status, text: '', isOver: false, close: () => abort.abort() }
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

const publish = (
  jobId: string,
  type: 'job.submitted' | 'job.started' | 'job.completed',
  epoch = 0,
) =>
  world.operator.publish(`evt.${type}.${jobId}`, {
    ...{ type, epoch, jobId, owner: world.mine.owner, revision: 1, atMs: Date.now() },
    ...(type === 'job.completed' ? { result: aRender() } : {}),
  })

function beat(jobId: string, percent: number, state: Beat['state'] = 'rendering') {
  const { owner } = world.mine
  const body: Beat = {
    workerId: 'w1',
    incarnation: 'i1',
    engine: 'preview',
    state,
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

  it('ends at once for a client that has the terminal event and connects again', async () => {
    const done = { state: 'completed', result: aRender(), finishedAtMs: Date.now() } as const
    const { jobId } = await world.putJob({ ...done, expiresAtMs: Date.now() + 60_000 })
    await publish(jobId, 'job.completed', 1)
    const first = await follow(jobId)
    await until(() => first.isOver)
    const [, lastId = ''] = /^id: (\d+)$/m.exec(first.text) ?? []
    const again = await follow(jobId, { 'last-event-id': lastId })
    await until(() => again.isOver, { timeoutMs: 10_000 })
    expect(again.text).not.toContain('event:')
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

  it('begins at the beginning for an invalid id, and after the given id otherwise', async () => {
    const done = { state: 'completed', result: aRender(), finishedAtMs: Date.now() } as const
    const { jobId } = await world.putJob({ ...done, expiresAtMs: Date.now() + 60_000 })
    await publish(jobId, 'job.completed', 1)
    for (const id of ['-5', 'nonsense', '1.5', '1e999', '']) {
      const stream = await follow(jobId, { 'last-event-id': id })
      await until(() => stream.isOver)
      expect(stream.text, id).toContain('event: completed')
    }
    const late = await follow(jobId, { 'last-event-id': '900000000' })
    await until(() => late.isOver)
    expect(late.text).not.toContain('event: completed')
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
    expect(answer.status).toBe(404)
  })

  it('is refused past the limit of open streams per owner', async () => {
    const { jobId } = await world.putJob()
    const streams = await Promise.all(
      Array.from({ length: limits.sseStreamsPerOwner }, () => follow(jobId)),
    )
    const refused = await world.call(`/events/${jobId}`)
    expect(refused.status).toBe(429)
    expect(refused.headers.get('retry-after')).toBe('2')
    for (const stream of streams) stream.close()
    const reopened = await until(async () => {
      const stream = await follow(jobId)
      stream.close()
      return stream.status === 200
    })
    expect(reopened).toBe(true)
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
          required: ['image', 'audio'],
          properties: { image: {}, audio: {}, prompt: { maxLength: 2_000 }, seed: { minimum: 0 } },
        },
      },
    })
  })
})

/** A connection in the middle of a request, which the closing of idle ones leaves alone. */
async function openConnection() {
  const socket = connect(Number(new URL(world.url).port), '127.0.0.1')
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk
  })
  await once(socket, 'connect')
  socket.write('GET /health HTTP/1.1\r\n')
  return { finish: () => socket.write('host: x\r\n\r\n'), text: () => text }
}

describe('closing the service', () => {
  it('ends open streams and finishes uploads in bounded time', async () => {
    const kept = await openConnection()
    const { jobId } = await world.putJob({ state: 'queued' })
    const stream = await follow(jobId)
    await until(() => stream.text.includes('retry'))
    // Its checks take longer than the listener takes to close.
    const uploading = world.generate()
    await until(async () => (await world.spooled()).length === 1)
    const began = performance.now()
    const closing = world.app.close()
    await until(() => !world.app.server.listening)
    kept.finish()
    expect((await uploading).status).toBe(201)
    await closing
    expect(performance.now() - began).toBeLessThan(30_000)
    await until(() => stream.isOver)
    expect(await until(() => kept.text())).toContain('"code":"DRAINING"')
  })
})
