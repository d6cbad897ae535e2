/**
 * Many jobs of many keys: what a submission, a status and a restart cost while they wait, and how fast they
 * are drained. The system is real; the engine is `null` and delivers a prepared file. Linux only. It exits with 1
 * when an aim is not met.
 *
 *   npm run bench:load
 *   npm run bench:load -- --jobs 1000
 *   npm run bench:load -- --jobs 1000 --listeners 200
 *   npm run bench:load -- --jobs 1000 --submits-a-second 0    as fast as eight clients can
 *   npm run bench:load -- --jobs 1000 --statuses-a-second 0    drains beside nobody who asks
 *   npm run bench:load -- --jobs 1000 --watchers 200    then so many streams and so many pollers follow one render
 */
import { randomInt } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { Agent } from 'node:http'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { acceptedSchema, subjects } from '@avatar/contracts'
import { holdWorkers, processNames, startSystem, until, voice } from '../../tests/harness/index.ts'
import { dataOf } from '../pipeline/measurements.ts'
import { type ProcessorTime, watchProcessorTime } from '../pipeline/processor-time.ts'
import { multipart } from '../pipeline/requests.ts'
import { markdownTable, quantile } from '../pipeline/statistics.ts'
import { type Aim, judge } from './aims.ts'
import { fairnessOf } from './fair-progress.ts'
import { askAtPace, doAtOnce, doAtPace } from './paces.ts'
import { type Posted, timedPost } from './timed-post.ts'
import { watchARender } from './watch-a-render.ts'
import { memoryOf, type ProcessName, peaks } from './watch-memory.ts'

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '10000' },
    keys: { type: 'string', default: '20' },
    listeners: { type: 'string', default: '0' },
    watchers: { type: 'string', default: '0' },
    'submits-a-second': { type: 'string', default: '50' },
    'statuses-a-second': { type: 'string', default: '20' },
  },
})
const jobs = Number(values.jobs)
const keyCount = Number(values.keys)
const listeners = Number(values.listeners)
const watchers = Number(values.watchers)
/**
 * They come at this pace, however slow the answers are. 0: each of a few clients sends its next one when it has
 * the answer; then the times tell only how many clients share the cores, and the pace how much the cores can do.
 */
const submitsASecond = Number(values['submits-a-second'])
/** In all, while the queue is drained. They are answered by the same cores: more of them drain fewer jobs. */
const statusesASecond = Number(values['statuses-a-second'])
const clientsAtOnce = 8
const lookEveryMs = 1_000
const statusesAlone = 1_000
const minuteMs = 60_000
const services = ['ingest', 'orchestrator', 'janitor'] as const satisfies readonly ProcessName[]

const portrait = await readFile(join(import.meta.dirname, '../../examples/portrait.jpg'))
const bodyFor = (prompt: string) => multipart(portrait, voice({ seconds: 1 }), prompt)
const body = bodyFor('null:prepared')

const system = await startSystem({
  env: {
    ...{ QUEUE_MAX_JOBS: '1000000', LIMIT_UNFINISHED_JOBS: '1000000' },
    ...{ TIMINGS_DIVISOR: '1', LOG_LEVEL: 'warn' },
  },
})
try {
  process.exitCode = (await measure()) ? 0 : 1
} finally {
  await system.stop()
}

/** @returns whether every aim was met */
async function measure(): Promise<boolean> {
  const keys: string[] = []
  for (let number = 0; number < keyCount; number++)
    keys.push(await system.createKey(`load-${number}`))
  const idle = await memoryOf(system)
  const release = await holdWorkers(system)

  const agent = new Agent({ keepAlive: true })
  const submitted: { jobId: string; key: string }[] = []
  const posts: Posted[] = []
  const looks = [idle]
  const looking = setInterval(async () => looks.push(await memoryOf(system)), lookEveryMs)
  const queueing = await watchProcessorTime(system)
  const queueingSinceMs = performance.now()
  const submit = async (number: number) => {
    const key = keys[number % keyCount] ?? ''
    const posted = await timedPost(`${system.url}/generate`, agent, key, body)
    if (posted.status !== 201) throw new Error(`POST answered ${posted.status}: ${posted.body}`)
    posts.push(posted)
    submitted.push({ jobId: dataOf(posted.body, acceptedSchema).job_id, key })
  }
  try {
    if (submitsASecond > 0) await doAtPace(submitsASecond, jobs, submit)
    else await doAtOnce(clientsAtOnce, jobs, submit)
  } finally {
    clearInterval(looking)
  }
  const queuedMs = performance.now() - queueingSinceMs
  const submitSpent = queueing()
  agent.destroy()
  const queued = await memoryOf(system)

  const randomStatus = async () => {
    const job = submitted[randomInt(submitted.length)]
    if (!job) throw new Error('no job to ask about')
    return timedStatus(job)
  }
  const asking = await watchProcessorTime(system)
  for (let asked = 0; asked < statusesAlone; asked++) await randomStatus()
  const statusSpent = asking()

  const restarts = new Map<ProcessName, number>()
  // A worker is heard of until it has been silent for long: nothing outside tells the next one's start.
  for (const name of processNames) if (name !== 'sidecar') restarts.set(name, await restartOf(name))

  const stopListening = new AbortController()
  const events = { received: 0, ended: 0 }
  const listening = submitted
    .slice(jobs - listeners)
    .map((job) => listen(job, events, stopListening.signal))
  looks.push(queued)
  const broker = await system.broker()
  const completed = await broker.counterOf('EVENTS', subjects.event('job.completed', '*'))
  const drained = await watchProcessorTime(system)
  const ownBefore = process.cpuUsage()
  const drainingSinceMs = performance.now()
  const answers = askAtPace(statusesASecond, randomStatus)
  await release()
  await until(
    async () => {
      looks.push(await memoryOf(system))
      return (await completed()) >= jobs
    },
    { timeoutMs: 90 * minuteMs, everyMs: lookEveryMs, what: 'an empty queue' },
  )
  const drainedMs = performance.now() - drainingSinceMs
  const drainSpent = drained()
  const own = process.cpuUsage(ownBefore)
  const ownMs = (own.user + own.system) / 1000
  const statuses = await answers()
  stopListening.abort()
  await Promise.allSettled(listening)
  const ends = await broker.factsOfType('job.completed')
  const watchedMs = watchers > 0 ? await watched(keys[0] ?? '') : []
  const fairness = fairnessOf(
    ends.map(({ owner }) => owner),
    keyCount,
  )
  const peak = peaks(looks)

  const after = posts.map(({ afterUploadMs }) => afterUploadMs)
  const whole = posts.map(({ ms }) => ms)
  const aims: Aim[] = [
    { what: 'POST without the upload p95', value: quantile(after, 0.95), unit: ' ms', bound: 150 },
    ...(statusesASecond > 0
      ? [
          {
            what: 'status while draining p95',
            value: quantile(statuses.tookMs, 0.95),
            unit: ' ms',
            bound: 50,
          },
        ]
      : []),
    {
      what: 'drained',
      value: jobs / (drainedMs / 1000),
      unit: ' a second',
      isAtLeast: true,
      bound: 50,
    },
    {
      what: 'least served key',
      value: fairness.least,
      unit: ' of its share',
      isAtLeast: true,
      bound: 0.5,
    },
    { what: 'most served key', value: fairness.most, unit: ' of its share', bound: 2 },
    {
      what: 'a service and its children at most',
      value: Math.max(...services.map((name) => peak.get(name)?.together ?? Number.NaN)),
      unit: ' MiB',
      bound: 512,
    },
    {
      what: 'restart at most',
      value: Math.max(...restarts.values()) / 1000,
      unit: ' s',
      bound: 10,
    },
    ...(watchers > 0
      ? [
          {
            what: `status beside ${watchers} streams and ${watchers} pollers p95`,
            value: quantile(watchedMs, 0.95),
            unit: ' ms',
            bound: 50,
          },
        ]
      : []),
  ]
  const judged = judge(aims)
  const medianOf = (tookMs: number[]) => `${quantile(tookMs, 0.5).toFixed(1)} ms`
  const figures: [string, string][] = [
    ['POST without the upload, median', medianOf(after)],
    ['POST with the upload, p95', `${quantile(whole, 0.95).toFixed(1)} ms`],
    ['submissions a second', (jobs / (queuedMs / 1000)).toFixed(1)],
    ['statuses a second while draining', statuses.aSecond.toFixed(1)],
    ...(statusesASecond > 0
      ? ([['status while draining, median', medianOf(statuses.tookMs)]] satisfies [
          string,
          string,
        ][])
      : []),
    ...(watchers > 0
      ? ([['status beside streams and pollers, median', medianOf(watchedMs)]] satisfies [
          string,
          string,
        ][])
      : []),
    ["the bench's own processor time a drained job", `${(ownMs / jobs).toFixed(1)} ms`],
    ...(listeners
      ? ([
          ['event streams that ended with their job', `${events.ended} of ${listeners}`],
          ['messages on them', String(events.received)],
        ] satisfies [string, string][])
      : []),
  ]
  const memory = processNames.map((name) => [
    name,
    ...[idle, queued, peak].map((look) => (look.get(name)?.together ?? 0).toFixed(0)),
    (peak.get(name)?.own ?? 0).toFixed(0),
    restarts.has(name) ? ((restarts.get(name) ?? 0) / 1000).toFixed(1) : '',
  ])
  process.stdout.write(
    `${markdownTable(['', '', 'aim', 'met'], judged.rows)}\n${markdownTable(['', ''], figures)}\n${markdownTable(
      ['process', 'MiB idle', 'MiB queued', 'MiB at most', 'resident, its own', 'restart s'],
      memory,
    )}\n${markdownTable(
      ['processor time, children included', 'ms a submit', 'ms a status', 'ms a drained job'],
      spentRows([submitSpent, jobs], [statusSpent, statusesAlone], [drainSpent, jobs]),
    )}\n${jobs} jobs of ${keyCount} keys, ${
      submitsASecond > 0
        ? `${submitsASecond} submitted a second`
        : `submitted by ${clientsAtOnce} clients`
    }: ${judged.line}\n`,
  )
  return judged.isMet
}

async function watched(key: string): Promise<number[]> {
  const agent = new Agent()
  const events = { received: 0, ended: 0 }
  const statusMs = await watchARender({
    key,
    watchers,
    submit: async (prompt) => {
      const posted = await timedPost(`${system.url}/generate`, agent, key, bodyFor(prompt))
      return dataOf(posted.body, acceptedSchema).job_id
    },
    timedStatus,
    listen: (job) => listen(job, events, new AbortController().signal),
  })
  agent.destroy()
  return statusMs
}

/** Milliseconds of processor time of each process, for one of what was counted; the sum last. */
function spentRows(...measured: readonly (readonly [ProcessorTime, number])[]): string[][] {
  const rows = processNames.map((name) => [
    name,
    ...measured.map(([spent, count]) => (spent[name] / count).toFixed(1)),
  ])
  const sums = measured.map(([spent, count]) => {
    const sum = processNames.reduce((total, name) => total + spent[name], 0)
    return (sum / count).toFixed(1)
  })
  return [...rows, ['together', ...sums]]
}

/** From a kill until the successor says that it is ready; the supervisor's pause is part of it. */
async function restartOf(name: ProcessName): Promise<number> {
  const sinceMs = performance.now()
  await system.kill(name)
  const { processes } = await system.stack()
  const port = processes[name].ports['metrics']
  const isReady = async () => {
    if (port !== undefined)
      return (await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined))?.ok
    const health = await system.client.health().catch(() => undefined)
    return health?.nats === 'ok' && health.storage === 'ok'
  }
  await until(isReady, { what: `${name} after its restart` })
  return performance.now() - sinceMs
}

async function timedStatus({ jobId, key }: { jobId: string; key: string }): Promise<number> {
  const sinceMs = performance.now()
  const answer = await fetch(`${system.url}/status/${jobId}`, {
    headers: { authorization: `Bearer ${key}` },
  })
  await answer.text()
  if (!answer.ok) throw new Error(`status answered ${answer.status}`)
  return performance.now() - sinceMs
}

/** Follows one job's events until its stream ends. */
async function listen(
  { jobId, key }: { jobId: string; key: string },
  events: { received: number; ended: number },
  signal: AbortSignal,
) {
  const answer = await fetch(`${system.url}/events/${jobId}`, {
    headers: { authorization: `Bearer ${key}` },
    signal,
  })
  for await (const text of answer.body?.pipeThrough(new TextDecoderStream()) ?? [])
    events.received += text.split('\n\n').length - 1
  events.ended++
}
