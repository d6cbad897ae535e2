/**
 * Measures what the pipeline itself costs: the engine costs next to nothing. Every figure comes from one
 * run against the real system, which is started as a user starts it.
 *
 *   npm run bench:pipeline
 *   npm run bench:pipeline -- --queued 1000 --submits 100 --statuses 500 --alone 30
 *   npm run bench:pipeline -- --replicas ingest=2,orchestrator=2
 *   npm run bench:pipeline -- --tracing --submits 200 --queued 300 [--baseline CHECKOUT]
 *
 * The last one measures instead what tracing costs, beside another checkout if one is given.
 */
import { readFile } from 'node:fs/promises'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { processNames, startSystem, voice } from '../../tests/harness/index.ts'
import { watchCores } from './busy-cores.ts'
import {
  drainBacklog,
  keepWorkerBusy,
  oneJobAlone,
  statusOf,
  submit,
  timesOf,
} from './measurements.ts'
import { watchProcessorTime } from './processor-time.ts'
import { createSender, multipart, startIdleServer } from './requests.ts'
import { markdownTable, summarise } from './statistics.ts'
import { tracingCost } from './tracing-cost.ts'

const { values } = parseArgs({
  options: {
    queued: { type: 'string', default: '1000' },
    submits: { type: 'string', default: '100' },
    statuses: { type: 'string', default: '500' },
    alone: { type: 'string', default: '30' },
    replicas: { type: 'string', default: '' },
    tracing: { type: 'boolean', default: false },
    baseline: { type: 'string' },
    'warm-ups': { type: 'string', default: '30' },
  },
})
const count = {
  queued: Number(values.queued),
  submits: Number(values.submits),
  statuses: Number(values.statuses),
  alone: Number(values.alone),
}
const inputBytes = 500_000
/** Jobs before the first measurement: until V8 has compiled the services, a submit takes a sixth longer. */
const warmUps = Number(values['warm-ups'])

const portrait = await readFile(join(import.meta.dirname, '../../examples/portrait.jpg'))
const bytesPerSecond = 32_000
const big = multipart(portrait, voice({ seconds: (inputBytes - portrait.length) / bytesPerSecond }))
const small = multipart(portrait, voice({ seconds: 1 }))
const blocker = multipart(portrait, voice({ seconds: 1 }), 'null:seconds=3600')

if (values.tracing) {
  const bodies = { submit: big, job: small, blocker }
  const { baseline } = values
  process.stdout.write(await tracingCost({ ...count, bodies, warmUps, baseline }))
  process.exit()
}

const rows: string[][] = []
const ms = (value: number) => value.toFixed(1)
const percent = (share: number) => `${Math.round(100 * share)} %`
function report(what: string, times: readonly number[]) {
  const { count: of, median, p95 } = summarise(times)
  rows.push([what, ms(median), ms(p95), String(of)])
  process.stderr.write(`${what}: ${ms(median)} ms\n`)
}

const loadBefore = loadavg()[0] ?? 0
const { replicas } = values
const system = await startSystem({ replicas, env: { TIMINGS_DIVISOR: '1', LOG_LEVEL: 'warn' } })
const sender = createSender(system.url, { authorization: `Bearer ${await system.createKey()}` })
const idle = await startIdleServer()
const idleSender = createSender(idle.url, {})
try {
  for (let left = warmUps; left > 0; left--) await oneJobAlone(system, sender, big)

  // Measured while nothing renders: in production the engine has a machine of its own.
  const releaseWorker = await keepWorkerBusy(sender, blocker)
  const nothing = () => idleSender.send('POST', '/', big)
  report('network and client alone, 500 KB', await timesOf(count.submits, nothing))
  const submitted: string[] = []
  const submitProcessors = await watchProcessorTime(system)
  const submitCores = watchCores()
  const submitOne = async () => {
    const { jobId, ms: took } = await submit(sender, big)
    submitted.push(jobId)
    return { ms: took }
  }
  report('submit, 500 KB of inputs', await timesOf(count.submits, submitOne))
  const busyInSubmits = submitCores()
  const inSubmits = submitProcessors()
  const [first = ''] = submitted
  const nothingSmall = () => idleSender.send('GET', '/')
  report('network and client alone', await timesOf(count.statuses, nothingSmall))
  report('status', await timesOf(count.statuses, () => statusOf(sender, first)))
  for (const jobId of submitted) await sender.send('POST', `/cancel/${jobId}`)
  await releaseWorker()

  const alone: Awaited<ReturnType<typeof oneJobAlone>>[] = []
  for (let left = count.alone; left > 0; left--)
    alone.push(await oneJobAlone(system, sender, small))
  const toRenderStart = alone.map((one) => one.toRenderStartMs)
  report('accepted → render start, idle system', toRenderStart)
  const toCompleted = alone.map((one) => one.toCompletedMs)
  report('render end → completed', toCompleted)

  const drained = await drainBacklog(system, sender, { job: small, blocker }, count.queued)
  report('render of the null engine, 1 s of audio', drained.rendersMs)
  report('gap between renders, with a backlog', drained.gapsMs)

  const spent: [string, number, number][] = processNames.map((name) => [
    name,
    inSubmits[name] / count.submits,
    drained.processorMs[name] / count.queued,
  ])
  const total = (of: 1 | 2) => spent.reduce((sum, row) => sum + row[of], 0)
  const processorRows = [...spent, ['together', total(1), total(2)] as const]
  const cpu = cpus()[0]?.model.trim() ?? 'unknown CPU'
  process.stdout.write(
    `Measured on ${availableParallelism()} × ${cpu}, Node ${process.versions.node}, load before ${loadBefore.toFixed(1)}` +
      `${replicas && `, --replicas ${replicas}`}.\n\n` +
      markdownTable(['measured in one run', 'median ms', 'p95 ms', 'of'], rows) +
      `\n${count.queued} jobs queued at ${drained.submitsPerSecond.toFixed(1)} a second by 8 clients, ` +
      `drained at ${drained.jobsPerSecond.toFixed(1)} a second by one worker. Busy cores: ` +
      `${percent(busyInSubmits)} during the submits one by one, ${percent(drained.busyCores)} during the drain.\n\n` +
      markdownTable(
        ['processor time, children included', 'ms a submit', 'ms a drained job'],
        processorRows.map(([name, one, other]) => [name, ms(one), ms(other)]),
      ),
  )
} finally {
  sender.stop()
  idleSender.stop()
  idle.stop()
  await (await system.broker()).close()
  await system.stop()
}
