/**
 * How long a job waits while a worker is idle, from its record to its claim: with one orchestrator, with
 * two, and with two of which one is killed as the job comes. The system is real, and so are its waits.
 *
 *   npm run bench:dispatch
 *   npm run bench:dispatch -- --jobs 200 --kills 20
 */
import { availableParallelism, cpus, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { subjects } from '@avatar/contracts'
import { z } from 'zod'
import { type Client, type System, startSystem, until } from '../../tests/harness/index.ts'
import { markdownTable, quantile } from '../pipeline/statistics.ts'
import { watchClaims } from './watch-claims.ts'

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '200' },
    kills: { type: 'string', default: '20' },
  },
})
const count = { jobs: Number(values.jobs), kills: Number(values.kills) }
/** Jobs before the first measurement: until V8 has compiled the services, everything takes longer. */
const warmUps = 20

const rows: string[][] = []
function report(what: string, waitsMs: readonly number[]) {
  const shown = [0.5, 0.99, 1].map((share) => quantile(waitsMs, share).toFixed(1))
  rows.push([what, ...shown, String(waitsMs.length)])
  process.stderr.write(`${what}: ${shown[0]} ms\n`)
}

/** Renders one job in an otherwise idle system. */
async function oneJob(client: Client): Promise<string> {
  const { jobId, status } = await client.submit()
  if (status !== 201) throw new Error(`the API answered ${status}`)
  await client.untilEnded(jobId, 'completed')
  return jobId
}

async function measure(orchestrators: number, act: (system: System) => Promise<void>) {
  const system = await startSystem({
    replicas: `orchestrator=${orchestrators}`,
    env: { TIMINGS_DIVISOR: '1', LOG_LEVEL: 'warn' },
  })
  try {
    for (let left = warmUps; left > 0; left--) await oneJob(system.client)
    await act(system)
  } finally {
    await system.stop()
  }
}

async function waitsOf(system: System): Promise<number[]> {
  const claims = watchClaims((await system.broker()).connection)
  const waitsMs: number[] = []
  for (let left = count.jobs; left > 0; left--)
    waitsMs.push(claims.waitMsOf(await oneJob(system.client)))
  return waitsMs
}

/** Each job is submitted right after one of the two orchestrators, in turns, was killed. */
async function waitsAfterKills(system: System): Promise<number[]> {
  const claims = watchClaims((await system.broker()).connection)
  const waitsMs: number[] = []
  for (let done = 0; done < count.kills; done++) {
    const victim = done % 2 === 0 ? 'orchestrator' : 'orchestrator-2'
    process.kill((await system.pidOf(victim)) ?? -1, 'SIGKILL')
    waitsMs.push(claims.waitMsOf(await oneJob(system.client)))
    await untilListening(system, 2)
  }
  return waitsMs
}

/** Waits until so many orchestrators take asks, by the broker's list of subscriptions. */
async function untilListening(system: System, orchestrators: number) {
  const { nats } = await system.stack()
  const url = `${nats.monitor}/subsz?subs=1&test=${subjects.next('local')}`
  await until(
    async () => {
      const { subscriptions_list = [] } = listSchema.parse(await (await fetch(url)).json())
      return subscriptions_list.length === orchestrators
    },
    { timeoutMs: 60_000, what: `${orchestrators} orchestrators that take asks` },
  )
}

const listSchema = z.object({ subscriptions_list: z.array(z.unknown()).optional() })

const loadBefore = loadavg()[0] ?? 0
await measure(1, async (system) => report('one orchestrator', await waitsOf(system)))
await measure(2, async (system) => {
  report('two orchestrators', await waitsOf(system))
  report('two, one killed just before', await waitsAfterKills(system))
})
const cpu = cpus()[0]?.model.trim() ?? 'unknown CPU'
process.stdout.write(
  `Measured on ${availableParallelism()} × ${cpu}, Node ${process.versions.node}, load before ${loadBefore.toFixed(1)}.\n\n` +
    markdownTable(
      ['an idle worker and a job: accepted → claimed', 'median ms', 'p99 ms', 'most ms', 'of'],
      rows,
    ),
)
