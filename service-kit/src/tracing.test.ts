import { afterEach, beforeEach, expect, it } from 'vitest'
import { openSpanNotebook } from '../testing/index.ts'
import { AppError } from './errors.ts'
import { rootTrace } from './trace.ts'
import {
  activeTrace,
  continueFrom,
  describeSpan,
  isTracing,
  openSpan,
  outsideSpans,
  withSpan,
  writeSpan,
} from './tracing.ts'

const parent = `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`
const notKept = parent.replace(/01$/, '00')

const turn = () => new Promise<void>((done) => setImmediate(done))

let notebook: ReturnType<typeof openSpanNotebook>
beforeEach(() => {
  notebook = openSpanNotebook()
})
afterEach(() => notebook.stop())

it('nests what runs inside, across awaits and side by side', async () => {
  await continueFrom(parent, {}, () =>
    withSpan('create record', {}, async () => {
      await Promise.all(
        (['check image', 'check audio'] as const).map((name) =>
          withSpan(name, {}, async () => {
            await turn()
            if (name === 'check image') await withSpan('store image', {}, turn, 'client')
          }),
        ),
      )
    }),
  )
  const outer = notebook.find('create record')
  const image = notebook.find('check image')
  expect(outer?.trace).toMatchObject({ traceId: '1'.repeat(32), parentSpanId: '2'.repeat(16) })
  for (const name of ['check image', 'check audio'])
    expect(notebook.find(name)?.trace.parentSpanId).toBe(outer?.trace.spanId)
  const inner = notebook.find('store image')
  expect(inner).toMatchObject({ kind: 'client', trace: { parentSpanId: image?.trace.spanId } })
  expect(inner?.fromMs).toBeLessThanOrEqual(inner?.toMs ?? 0)
})

it('marks what fails, by its code, and lets the failure through', async () => {
  const failing = continueFrom(parent, {}, () =>
    withSpan('verify', {}, async () => {
      throw new AppError('STORE_UNAVAILABLE')
    }),
  )
  await expect(failing).rejects.toThrow(AppError)
  expect(notebook.find('verify')).toMatchObject({
    isError: true,
    attributes: { 'error.type': 'STORE_UNAVAILABLE' },
  })
})

it('gives every span the job and the attempt that are known above it, and nothing else', async () => {
  const span = openSpan('POST /generate', { trace: rootTrace(true), kind: 'server' })
  await span.run(async () => {
    describeSpan({ 'avatar.job.id': 'j1', 'avatar.attempt': 2, 'avatar.state': 'queued' })
    await withSpan('check image', { 'avatar.bytes': 3 }, turn)
  })
  span.end()
  const about = { 'avatar.job.id': 'j1', 'avatar.attempt': 2 }
  expect(notebook.find('check image')?.attributes).toEqual({ ...about, 'avatar.bytes': 3 })
  expect(notebook.find('POST /generate')?.attributes).toEqual({
    ...about,
    'avatar.state': 'queued',
  })
})

it('counts the time before it was opened', () => {
  const span = openSpan('POST /generate', { trace: rootTrace(true), agoMs: 5_000 })
  span.end()
  const { fromMs = 0, toMs = 0 } = notebook.find('POST /generate') ?? {}
  expect(toMs - fromMs).toBeGreaterThanOrEqual(5_000)
})

it('writes what is over under the id that it is known by', () => {
  writeSpan({ name: 'job', id: 'a'.repeat(16), parent, fromMs: 10, toMs: 20 })
  expect(notebook.find('job')).toMatchObject({
    ...{ fromMs: 10, toMs: 20 },
    trace: { traceId: '1'.repeat(32), spanId: 'a'.repeat(16), parentSpanId: '2'.repeat(16) },
  })
})

it('leaves nothing of a trace that is not kept', async () => {
  writeSpan({ name: 'job', parent: notKept, fromMs: 10, toMs: 20 })
  await continueFrom(notKept, {}, () => withSpan('verify', {}, turn))
  const span = openSpan('POST /generate', { trace: rootTrace(false) })
  await span.run(() => withSpan('verify', {}, turn))
  span.end()
  expect(notebook.spans).toEqual([])
})

it('keeps what serves others out of the span of whoever called', async () => {
  await continueFrom(parent, {}, async () => {
    expect(activeTrace()?.spanId).toBe('2'.repeat(16))
    await outsideSpans(async () => {
      expect(activeTrace()).toBeUndefined()
      await withSpan('verify', {}, turn)
    })
  })
  expect(notebook.spans).toEqual([])
})

it('does the work and nothing else once it is switched off', async () => {
  await notebook.stop()
  expect(isTracing()).toBe(false)
  const result = await continueFrom(parent, {}, () => withSpan('verify', {}, async () => 'done'))
  writeSpan({ name: 'job', parent, fromMs: 10, toMs: 20 })
  expect(result).toBe('done')
  expect(notebook.spans).toEqual([])
})
