/**
 * Many jobs of many keys: what a submission, a status and a restart cost while they wait, and how fast they
 * are drained. The system is real; the engine is `null` and delivers a prepared file. Linux only.
 *
 *   npm run bench:load
 *   npm run bench:load -- --jobs 1000
 *   npm run bench:load -- --jobs 1000 --listeners 200
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
import { askAtPace } from './ask-at-pace.ts'
import { fairnessOf } from './fair-progress.ts'
import { type Posted, timedPost } from './timed-post.ts'
import { watchARender } from './watch-a-render.ts'
import { memoryOf, type ProcessName, peaks } from './watch-memory.ts'

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '10000' },
    keys: { type: 'string', default: '20' },
    listeners: { type: 'string', default: '0' },
    watchers: { type: 'string', default: '0' },
    'statuses-a-second': { type: 'string', default: '20' },
  },
})
const jobs = Number(values.jobs)
const keyCount = Number(values.keys)
const listeners = Number(values.listeners)
const watchers = Number(values.watchers)
/** In all, while the queue is drained. They are answered by the same cores: more of them drain fewer jobs. */
const statusesASecond = Number(values['statuses-a-second'])
const submittersAtOnce = 8
const lookEveryMs = 500
const statusesAlone = 1_000
const minuteMs = 60_000

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
  await measure()
} finally {
  await system.stop()
}

async function measure() {
  const keys: string[] = []
  for (let number = 0; number < keyCount; number++)
    keys.push(await system.createKey(`load-${number}`))
  const idle = await memoryOf(system)
  const release = await holdWorkers(system)

  const agent = new Agent({ keepAlive: true, maxSockets: submittersAtOnce })
  const submitted: { jobId: string; key: string }[] = []
  const posts: Posted[] = []
  let next = 0
  const queueing = await watchProcessorTime(system)
  const queueingSinceMs = performance.now()
  const submitter = async () => {
    while (next < jobs) {
      const key = keys[next++ % keyCount] ?? ''
      const posted = await timedPost(`${system.url}/generate`, agent, key, body)
      if (posted.status !== 201) throw new Error(`POST answered ${posted.status}: ${posted.body}`)
      posts.push(posted)
      submitted.push({ jobId: dataOf(posted.body, acceptedSchema).job_id, key })
    }
  }
  await Promise.all(Array.from({ length: submittersAtOnce }, submitter))
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
  const looks = [await memoryOf(system)]
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
  const figures: [string, string][] = [
    ['POST without the upload, median', `${quantile(after, 0.5).toFixed(1)} ms`],
    ['POST without the upload, p95', `${quantile(after, 0.95).toFixed(1)} ms`],
    ['POST with the upload, p95', `${quantile(whole, 0.95).toFixed(1)} ms`],
    ['submissions a second', (jobs / (queuedMs / 1000)).toFixed(1)],
    ['jobs drained a second', (jobs / (drainedMs / 1000)).toFixed(1)],
    ['statuses a second while draining', statuses.aSecond.toFixed(1)],
    ["the bench's own processor time a drained job", `${(ownMs / jobs).toFixed(1)} ms`],
    ...(statuses.tookMs.length > 0
      ? ([
          ['status while draining, median', `${quantile(statuses.tookMs, 0.5).toFixed(1)} ms`],
          ['status while draining, p95', `${quantile(statuses.tookMs, 0.95).toFixed(1)} ms`],
        ] satisfies [string, string][])
      : []),
    ['least served key, of its share', fairness.least.toFixed(2)],
    ['most served key, of its share', fairness.most.toFixed(2)],
    ...(watchers > 0
      ? ([
          [
            `status of one render, ${watchers} pollers and ${watchers} streams, median`,
            `${quantile(watchedMs, 0.5).toFixed(1)} ms`,
          ],
          ['the same, p95', `${quantile(watchedMs, 0.95).toFixed(1)} ms`],
        ] satisfies [string, string][])
      : []),
    ...(listeners
      ? ([
          ['event streams that ended with their job', `${events.ended} of ${listeners}`],
          ['messages on them', String(events.received)],
        ] satisfies [string, string][])
      : []),
  ]
  const memory = processNames.map((name) => [
    name,
    ...[idle, queued, peak].map((look) => (look.get(name) ?? 0).toFixed(0)),
    restarts.has(name) ? ((restarts.get(name) ?? 0) / 1000).toFixed(1) : '',
  ])
  process.stdout.write(
    `${jobs} jobs of ${keyCount} keys, ${submittersAtOnce} submitters, ${listeners} listeners.\n\n` +
      `${markdownTable(['', ''], figures)}\n${markdownTable(
        ['process', 'MiB idle', 'MiB queued', 'MiB at most', 'restart s'],
        memory,
      )}\n${markdownTable(
        ['processor time, children included', 'ms a submit', 'ms a status', 'ms a drained job'],
        spentRows([submitSpent, jobs], [statusSpent, statusesAlone], [drainSpent, jobs]),
      )}`,
  )
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
