import { openSpanNotebook, until } from '@avatar/service-kit/testing'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { portrait, useRestWorld, voice } from './rest-world.ts'

const traceId = '0af7651916cd43dd8448eb211c80319c'
const callers = 'b7ad6b7169203331'
const traceparent = `00-${traceId}-${callers}-00`

const world = useRestWorld()
let notebook: ReturnType<typeof openSpanNotebook>
beforeEach(() => {
  notebook = openSpanNotebook()
})
afterEach(() => notebook.stop())

const names = () => notebook.spans.map(({ name }) => name)
const written = (name: string) => until(() => notebook.find(name), { what: `a span ${name}` })

it('hangs a submission below its caller, whatever the flag, and each step below the request', async () => {
  const answer = await world.generate({}, { traceparent })
  expect(answer.status).toBe(201)
  const request = await written('POST /generate')
  expect(request).toMatchObject({
    kind: 'server',
    isError: false,
    trace: { traceId, parentSpanId: callers },
    attributes: {
      'http.request.method': 'POST',
      'http.route': '/generate',
      'http.response.status_code': 201,
      'avatar.owner': world.mine.owner,
    },
  })
  expect(answer.headers.get('traceparent')).toBe(request.trace.traceparent)
  expect(names().sort()).toEqual([
    'POST /generate',
    'check audio',
    'check image',
    'create record',
    'publish evt.job.submitted.{job}',
    'read upload',
    'store audio',
    'store image',
  ])
  const jobId = request.attributes['avatar.job.id']
  expect(jobId).toBeTypeOf('string')
  for (const span of notebook.spans) {
    expect(span.attributes['avatar.job.id'], span.name).toBe(jobId)
    if (span !== request) expect(span.trace.parentSpanId, span.name).toBe(request.trace.spanId)
  }
  expect(notebook.find('store image')?.attributes['avatar.bytes']).toBeGreaterThan(0)
  expect(notebook.find('check audio')?.attributes['avatar.audio_seconds']).toBeGreaterThan(0)
  const record = await world.jobs.find(`${world.mine.owner}.${jobId}`)
  expect(record?.value.traceparent).toBe(request.trace.traceparent)
})

it('links a repeated submission to the job that it finds', async () => {
  const again = { 'idempotency-key': 'again' }
  const [first, second] = [await world.generate({}, again), await world.generate({}, again)]
  expect([first.status, second.status]).toEqual([201, 200])
  const requests = await until(() => {
    const found = notebook.spans.filter(({ name }) => name === 'POST /generate')
    return found.length === 2 && found
  })
  const [made, found] = requests.toSorted((a, b) => a.links.length - b.links.length)
  expect(made?.links).toEqual([])
  expect(found?.links).toMatchObject([expect.stringContaining(`${made?.trace.traceId}`)])
  expect(found?.trace.traceId).not.toBe(made?.trace.traceId)
})

it('tells a refusal by its code; a mistake of the caller is no error of ours', async () => {
  const answer = await world.generate({ image: undefined })
  expect(answer.status).toBe(400)
  expect(await written('POST /generate')).toMatchObject({
    isError: false,
    attributes: { 'http.response.status_code': 400, 'error.type': 'IMAGE_MISSING' },
  })
})

it('links a cancel to the span of its job', async () => {
  const job = await world.putJob({ state: 'queued' })
  await world.call(`/cancel/${job.jobId}`, { method: 'POST' })
  const request = await written('POST /cancel/:job_id')
  expect(request.links).toMatchObject([expect.stringContaining(job.traceparent.slice(3, 35))])
  expect(request.attributes['avatar.job.id']).toBe(job.jobId)
})

it('leaves no span of a request without a key, nor of those that poll', async () => {
  const job = await world.putJob()
  const stranger = { authorization: 'Bearer nobody' }
  expect((await world.generate({}, stranger)).status).toBe(401)
  for (const path of [`/status/${job.jobId}`, '/jobs', '/health', '/nowhere']) {
    const answer = await world.call(path, { headers: { traceparent } })
    expect(answer.headers.get('traceparent')).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-00$`))
  }
  expect(notebook.spans).toEqual([])
})

it('hangs an event of a publisher below the publisher, whatever the flag', async () => {
  const [image_key, audio_key] = ['intake/acme/face.jpg', 'intake/acme/voice.wav']
  await world.putObject(image_key, portrait)
  await world.putObject(audio_key, voice)
  const acme = await world.connectAs('acme')
  await acme.publish('intake.acme.job.submitted', { image_key, audio_key }, { traceparent })
  const event = await written('process intake.{publisher}.job.submitted')
  expect(event).toMatchObject({ kind: 'consumer', trace: { traceId, parentSpanId: callers } })
  const jobId = event.attributes['avatar.job.id']
  for (const name of ['check image', 'check audio', 'store image', 'store audio', 'create record'])
    expect(notebook.find(name), name).toMatchObject({
      trace: { parentSpanId: event.trace.spanId },
      attributes: { 'avatar.job.id': jobId },
    })
  const record = await world.jobs.find(`acme.${jobId}`)
  expect(record?.value.traceparent).toBe(event.trace.traceparent)
})

it('keeps nothing where tracing is off, and still passes the trace on', async () => {
  await notebook.stop()
  const answer = await world.generate({}, { traceparent: traceparent.replace(/00$/, '01') })
  expect(answer.headers.get('traceparent')).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-00$`))
  expect(notebook.spans).toEqual([])
})
