import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  drawTree,
  type OtlpReceiver,
  type SpanTree,
  type System,
  startOtlpReceiver,
  startSystem,
  until,
} from '../harness/index.ts'

/** Of a job without a mishap. */
const smooth = [
  ...['POST /generate', 'read upload', 'check image', 'check audio', 'store image', 'store audio'],
  ...['create record', 'publish evt.job.submitted.{job}', 'process evt.job.submitted.{job}'],
  ...['publish evt.job.queued.{job}', 'job', 'queue', 'attempt', 'answer claim', 'answer store'],
  ...['process evt.render.started.{job}', 'publish evt.job.started.{job}'],
  ...['process evt.render.completed.{job}', 'verify', 'publish sched.delete.{job}'],
  ...['publish evt.job.completed.{job}'],
  ...['publish ledger.job.{month}.{day}.{owner}.{job}', 'fetch image', 'fetch audio'],
  ...['publish evt.render.started.{job}', 'render', 'prepare', 'chunk', 'finish file', 'upload'],
  'publish evt.render.completed.{job}',
]

let receiver: OtlpReceiver
let system: System
beforeAll(async () => {
  receiver = await startOtlpReceiver()
  system = await startSystem({
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.endpoint,
      VIDEO_RETENTION_HOURS: String(2 / 3600),
    },
  })
})
afterAll(async () => {
  expect(await system.stop()).toEqual([])
  await receiver.stop()
})

/** A caller with a trace of its own, which it does not keep. */
function aCaller() {
  const traceId = randomBytes(16).toString('hex')
  const spanId = randomBytes(8).toString('hex')
  return { traceId, spanId, headers: { traceparent: `00-${traceId}-${spanId}-00` } }
}
type Caller = ReturnType<typeof aCaller>

/** A job of a caller. On a busy machine the store may be late: a new caller then comes again. */
async function submit(prompt?: string): Promise<{ caller: Caller; jobId: string }> {
  return until(
    async () => {
      const caller = aCaller()
      const { headers } = caller
      const answer = await system.client.submit({ headers, ...(prompt ? { prompt } : {}) })
      const ours = new RegExp(`^00-${caller.traceId}-[0-9a-f]{16}-01$`)
      expect(answer.headers.get('traceparent')).toMatch(ours)
      return answer.status === 201 && { caller, jobId: answer.jobId }
    },
    { everyMs: 200, what: 'an accepted job' },
  )
}

const flat = (tree: SpanTree): SpanTree[] => [tree, ...tree.children.flatMap(flat)]
const namesOf = (tree: SpanTree) => flat(tree).map(({ name }) => name)

/** Waits until a trace is one tree with all these spans: one root below the caller, and no orphan. */
async function wholeTree({ traceId, spanId }: Caller, names: readonly string[]): Promise<SpanTree> {
  const isWhole = ([root, ...others]: SpanTree[]) =>
    root && others.length === 0 && names.every((name) => namesOf(root).includes(name)) && root
  const trees = () => receiver.treesOf(traceId)
  // Spans come once a second, and to build a tree of them takes a while.
  const waits = { timeoutMs: 30_000, everyMs: 100 }
  const root = await until(() => isWhole(trees()), waits).catch((cause) => {
    const missing = names.filter((name) => !trees().flatMap(namesOf).includes(name))
    const seen = trees().map((tree) => drawTree(tree))
    throw new Error(`no whole tree; missing ${missing}; seen:\n${seen.join('\n')}`, { cause })
  })
  expect(root.parentSpanId).toBe(spanId)
  return root
}

function find(tree: SpanTree, name: string): SpanTree {
  return flat(tree).find((span) => span.name === name) ?? expect.fail(`no span ${name}`)
}

it('one job is one tree below its caller, and its deletion is another one with a link', async () => {
  const { caller, jobId } = await submit()
  await system.client.untilEnded(jobId, 'completed')
  const tree = await wholeTree(caller, smooth)
  const spans = flat(tree)
  expect(spans.length).toBeGreaterThanOrEqual(18)
  const services = new Set(spans.map(({ service }) => service))
  expect([...services].sort()).toEqual(['ingest', 'orchestrator', 'sidecar'])
  for (const span of spans) {
    expect(span.attributes['avatar.job.id'], span.name).toBe(jobId)
    expect(span.events, span.name).toEqual([])
  }
  const job = find(tree, 'job')
  expect(tree.children.map(({ name }) => name)).toContain('job')
  expect(job).toMatchObject({
    attributes: { 'avatar.outcome': 'completed', 'avatar.door': 'rest' },
  })
  expect(job.children.map(({ name }) => name)).toEqual(expect.arrayContaining(['queue', 'attempt']))
  const below = (span: SpanTree) => span.children.map(({ name }) => name)
  expect(below(find(tree, 'attempt'))).toEqual(
    expect.arrayContaining(['answer claim', 'answer store', 'render', 'upload']),
  )
  expect(below(find(tree, 'process evt.render.completed.{job}'))).toContain('verify')

  const deletion = await until(() => {
    const root = receiver.ofJob(jobId).find(({ name }) => name === 'process due.delete.{job}')
    const [found, ...others] = root ? receiver.treesOf(root.traceId) : []
    return found && others.length === 0 && flat(found).length >= 4 && found
  })
  expect(deletion.traceId).not.toBe(caller.traceId)
  expect(deletion).toMatchObject({
    links: [{ traceId: caller.traceId, spanId: job.spanId }],
    attributes: { 'avatar.objects': 3 },
  })
  expect(deletion.parentSpanId).toBeUndefined()
  expect(namesOf(deletion)).toEqual([
    'process due.delete.{job}',
    'delete objects',
    'publish evt.job.deleted.{job}',
    'process evt.job.deleted.{job}',
  ])
  // Whoever looks for the job in the logs finds all of it under one trace id.
  const deleted = await until(() =>
    system.lines.find((line) => line.includes('evt.job.deleted') && line.includes(jobId)),
  )
  expect(deleted).toContain(`traceId=${caller.traceId}`)
})

it('twenty jobs at once are twenty whole trees', async () => {
  const jobs = await Promise.all(Array.from({ length: 20 }, () => submit()))
  for (const { jobId, caller } of jobs) {
    await system.client.untilEnded(jobId, 'completed')
    const tree = await wholeTree(caller, smooth)
    for (const span of flat(tree)) expect(span.attributes['avatar.job.id']).toBe(jobId)
  }
})

it('a cancel is told in the trace of its job, to which its request has a link', async () => {
  const { caller, jobId } = await submit('null:seconds=60')
  await system.client.untilView(jobId, ({ stage }) => stage === 'rendering')
  const canceller = aCaller()
  const { headers } = canceller
  await system.client.send(`/cancel/${jobId}`, { method: 'POST', headers })
  await system.client.untilEnded(jobId, 'cancelled')
  const tree = await wholeTree(caller, [
    ...['job', 'attempt', 'process evt.render.cancelled.{job}'],
    'publish evt.job.cancelled.{job}',
  ])
  const job = find(tree, 'job')
  expect(job).toMatchObject({ attributes: { 'avatar.outcome': 'cancelled' }, status: { code: 0 } })
  expect(find(tree, 'attempt')).toMatchObject({ attributes: { 'avatar.outcome': 'cancelled' } })
  const [asked] = job.children.filter(({ name }) => name.startsWith('publish'))
  expect(asked).toMatchObject({
    name: 'publish evt.job.cancel-requested.{job}',
    children: [
      {
        name: 'process evt.job.cancel-requested.{job}',
        attributes: { 'avatar.state': 'cancelling' },
      },
    ],
  })
  const request = await until(() => receiver.treesOf(canceller.traceId)[0])
  expect(request).toMatchObject({
    ...{ name: 'POST /cancel/:job_id', parentSpanId: canceller.spanId, children: [] },
    links: [{ traceId: caller.traceId, spanId: job.spanId }],
  })
})

/** A job whose render has begun, and whose first spans have reached the collector. */
async function rendering() {
  const { caller, jobId } = await submit('null:seconds=3')
  await until(
    () =>
      receiver
        .ofTrace(caller.traceId)
        .some(({ name }) => name === 'publish evt.render.started.{job}'),
    { what: 'the first spans of the worker' },
  )
  return { caller, jobId }
}

it('an attempt whose worker was killed is told as lost, beside the one that completed', async () => {
  const { caller, jobId } = await rendering()
  await system.kill('sidecar')
  await system.client.untilEnded(jobId, 'completed')
  const names = [...smooth, 'publish evt.job.attempt-lost.{job}']
  const trees = () => receiver.treesOf(caller.traceId)
  const tree = await until(() =>
    trees().find(
      (root) =>
        root.parentSpanId === caller.spanId && names.every((name) => namesOf(root).includes(name)),
    ),
  )
  const attempts = find(tree, 'job').children.filter(({ name }) => name === 'attempt')
  expect(attempts).toMatchObject([
    {
      attributes: { 'avatar.attempt': 1, 'avatar.outcome': 'lost', 'avatar.code': 'WORKER_LOST' },
      status: { code: 2 },
    },
    { attributes: { 'avatar.attempt': 2, 'avatar.outcome': 'completed' }, status: { code: 0 } },
  ])
  for (const { children, attributes } of attempts) {
    const found = children.map(({ name }) => name)
    expect(found).toEqual(expect.arrayContaining(['answer claim', 'fetch image', 'fetch audio']))
    for (const child of children)
      expect(child.attributes['avatar.attempt'], child.name).toBe(attributes['avatar.attempt'])
  }
  // The render died with its worker, which alone knew of it: at most its stages are left.
  for (const orphan of trees().filter(({ spanId }) => spanId !== tree.spanId)) {
    expect(['prepare', 'chunk']).toContain(orphan.name)
    expect(orphan.attributes['avatar.attempt']).toBe(1)
  }
})

it('a render whose process was killed keeps its finished stages, and the cut one is an error', async () => {
  const { caller, jobId } = await rendering()
  await system.kill('child')
  await system.client.untilEnded(jobId, 'completed')
  const tree = await wholeTree(caller, [...smooth, 'publish evt.render.failed.{job}'])
  const stages = flat(tree).filter(({ name }) => ['prepare', 'chunk'].includes(name))
  expect(stages.some(({ status }) => status.code === 2)).toBe(true)
  expect(stages.some(({ status }) => status.code !== 2)).toBe(true)
})

it('sends nothing but traces, and no prompt, name of a file, link or address', () => {
  expect([...receiver.paths]).toEqual(['/v1/traces'])
  expect(receiver.problems).toEqual([])
  const told = JSON.stringify(receiver.spans.map(({ name, attributes }) => ({ name, attributes })))
  for (const secret of ['null:seconds', 'face.png', 'voice.wav', 'http:', '?', '127.0.0.1'])
    expect(told).not.toContain(secret)
})
