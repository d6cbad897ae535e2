import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { monitoredServices, processNames, recordOf } from '@avatar/contracts'
import {
  isAlive,
  type System,
  startOtlpReceiver,
  startSystem,
  until,
} from '../../tests/harness/index.ts'
import { drainBacklog, keepWorkerBusy, oneJobAlone, submit } from './measurements.ts'
import type { ProcessorTime } from './processor-time.ts'
import { createSender, type multipart, type Sender, startIdleServer } from './requests.ts'
import { markdownTable, summarise } from './statistics.ts'

type Body = ReturnType<typeof multipart>
type Options = {
  bodies: { submit: Body; job: Body; blocker: Body }
  submits: number
  queued: number
  warmUps: number
  /** Another checkout to compare with. */
  baseline?: string | undefined
}

/** One way to run the system, and what it was seen to cost. */
type Way = {
  name: string
  system: System
  sender: Sender
  submitMs: number[]
  /** Of each round. */
  msPerJob: ProcessorTime[]
  residentMb: number
  stopMs: number
}

/** Each way drains a part of its jobs in turn: what a job costs varies by a tenth from minute to minute. */
const rounds = 5

/**
 * What tracing costs: the same measurements with tracing off, on, and with a collector that accepts and
 * never answers. Submits go to one system after the other, so that whatever else the machine does
 * hits all of them alike.
 *
 * @returns a table with ratios to tracing off
 */
export async function tracingCost(options: Options): Promise<string> {
  const { bodies, submits, queued, warmUps, baseline } = options
  // It reads and forgets: what parses every span here would slow down the client.
  const collector = await startIdleServer()
  const silent = await startOtlpReceiver({ isSilent: true })
  const ways: Way[] = []
  try {
    ways.push(await start('tracing off', {}))
    ways.push(await start('tracing on', { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url }))
    ways.push(await start('silent collector', { OTEL_EXPORTER_OTLP_ENDPOINT: silent.endpoint }))
    if (baseline) {
      ways.push(await start('baseline, tracing off', {}, baseline))
      const onThere = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url }
      ways.push(await start('baseline, tracing on', onThere, baseline))
    }
    for (const { system, sender } of ways)
      for (let left = warmUps; left > 0; left--) await oneJobAlone(system, sender, bodies.submit)
    await submitInTurn(ways, bodies, submits)
    await drainInTurn(ways, bodies, Math.ceil(queued / rounds))
    for (const way of ways) {
      way.residentMb = await residentMb(way.system)
      way.stopMs = await timeToStop(way, bodies.submit)
    }
    return tablesOf(ways)
  } finally {
    for (const { system, sender } of ways) {
      sender.stop()
      await (await system.broker()).close()
      await system.stop()
    }
    collector.stop()
    await silent.stop()
  }
}

async function start(name: string, env: Record<string, string>, checkout?: string): Promise<Way> {
  process.stderr.write(`starting: ${name}\n`)
  const system = await startSystem({
    env: { TIMINGS_DIVISOR: '1', LOG_LEVEL: 'warn', ...env },
    ...(checkout ? { avatar: [process.execPath, join(checkout, 'cli/src/main.ts')] } : {}),
  })
  const sender = createSender(system.url, { authorization: `Bearer ${await system.createKey()}` })
  return {
    name,
    system,
    sender,
    submitMs: [],
    msPerJob: [],
    residentMb: 0,
    stopMs: 0,
  }
}

/** One submit to each in turn, while no worker renders. */
async function submitInTurn(ways: readonly Way[], bodies: Options['bodies'], submits: number) {
  const release: (() => Promise<void>)[] = []
  for (const { sender } of ways) release.push(await keepWorkerBusy(sender, bodies.blocker))
  const submitted: [Sender, string][] = []
  for (let turn = 0; turn < submits; turn++)
    // Who comes first changes, because the others may find something warm.
    for (let place = 0; place < ways.length; place++) {
      const way = ways[(turn + place) % ways.length]
      if (!way) continue
      const { jobId, ms } = await submit(way.sender, bodies.submit)
      way.submitMs.push(ms)
      submitted.push([way.sender, jobId])
    }
  for (const [sender, jobId] of submitted) await sender.send('POST', `/cancel/${jobId}`)
  for (const each of release) await each()
}

/** A backlog of each in turn, again and again. */
async function drainInTurn(ways: readonly Way[], bodies: Options['bodies'], count: number) {
  for (let round = 0; round < rounds; round++)
    for (let place = 0; place < ways.length; place++) {
      const way = ways[(round + place) % ways.length]
      if (!way) continue
      const { processorMs } = await drainBacklog(way.system, way.sender, bodies, count)
      way.msPerJob.push(recordOf(processNames, (name) => processorMs[name] / count))
    }
}

/** Of the three services together, from /proc. */
async function residentMb(system: System): Promise<number> {
  const pids = await Promise.all(monitoredServices.map((name) => system.pidOf(name)))
  return pids.reduce<number>((sum, pid) => {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    return sum + Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024
  }, 0)
}

/** From SIGTERM to the end of ingest, which has spans to export. */
async function timeToStop({ system, sender }: Way, body: Body): Promise<number> {
  for (let left = 5; left > 0; left--) await submit(sender, body)
  const pid = await system.pidOf('ingest')
  if (pid === undefined) throw new Error('ingest does not run')
  const sentAtMs = performance.now()
  process.kill(pid, 'SIGTERM')
  await until(() => !isAlive(pid), { everyMs: 5, what: 'the end of ingest' })
  return performance.now() - sentAtMs
}

function tablesOf(ways: readonly Way[]): string {
  const [off] = ways
  if (!off) return ''
  const ratio = (value: number, to: number) => `${value.toFixed(1)} (${(value / to).toFixed(3)})`
  const signed = (value: number) => (value >= 0 ? '+' : '') + value.toFixed(1)
  const difference = (value: number, to: number) => `${value.toFixed(1)} (${signed(value - to)})`
  const times = ways.map(({ submitMs }) => summarise(submitMs))
  const [offTimes] = times
  if (!offTimes) return ''
  const all = (one: ProcessorTime) => Object.values(one).reduce((sum, ms) => sum + ms, 0)
  const sums = ({ msPerJob }: Way) => msPerJob.map(all)
  const sum = (way: Way) => summarise(sums(way)).median
  /** Of the same round: from one to the next, everything may cost more or less. */
  const aboveOff = (way: Way) =>
    summarise(sums(way).map((ms, round) => ms - (sums(off)[round] ?? Number.NaN))).median
  const costs = markdownTable(
    [
      ...[`of ${offTimes.count} submits (to tracing off)`, 'submit median ms', 'submit p95 ms'],
      ...['processor ms a drained job', 'resident MB', 'SIGTERM of ingest ms'],
    ],
    ways.map((way, at) => [
      way.name,
      ratio(times[at]?.median ?? Number.NaN, offTimes.median),
      ratio(times[at]?.p95 ?? Number.NaN, offTimes.p95),
      `${sum(way).toFixed(1)} (${signed(aboveOff(way))})`,
      difference(way.residentMb, off.residentMb),
      difference(way.stopMs, off.stopMs),
    ]),
  )
  const parts = markdownTable(
    [`processor ms a drained job, median of ${rounds} rounds`, ...processNames],
    ways.map(({ name, msPerJob }) => [
      name,
      ...processNames.map((of) => summarise(msPerJob.map((one) => one[of])).median.toFixed(1)),
    ]),
  )
  return `${costs}\n${parts}`
}
