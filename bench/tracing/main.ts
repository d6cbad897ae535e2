/**
 * Measures what the spans of one job cost the services, to the hundredth of a millisecond: they are made,
 * encoded and posted to a collector on loopback, with tracing off and on in turns within one run. All else
 * that a job costs is left out, because it varies by more than this.
 *
 *   npm run bench:tracing
 *   npm run bench:tracing -- --rounds 20 --baseline CHECKOUT     beside another checkout
 *
 * The first table is of jobs at the pace of a drained backlog, whose code is cold whenever a job comes. The
 * second is of as many as it can, whose code is hot.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startIdleServer } from '../pipeline/requests.ts'
import { markdownTable, quantile } from '../pipeline/statistics.ts'
import type { Answer, Turn } from './one-process.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '10' },
    jobs: { type: 'string', default: '50' },
    'every-ms': { type: 'string', default: '100' },
    'hot-jobs': { type: 'string', default: '2000' },
    baseline: { type: 'string' },
  },
})
const rounds = Number(values.rounds)
const paced: Turn = { jobs: Number(values.jobs), everyMs: Number(values['every-ms']) }
const hot: Turn = { jobs: Number(values['hot-jobs']), everyMs: 0 }

const collector = await startIdleServer()
const here = join(import.meta.dirname, '../..')
const ways = await Promise.all([
  startWay('tracing off', here),
  startWay('tracing on', here, collector.url),
  ...(values.baseline
    ? [
        startWay('baseline, tracing off', values.baseline),
        startWay('baseline, tracing on', values.baseline, collector.url),
      ]
    : []),
])
try {
  process.stdout.write(await tableOf(`${1_000 / paced.everyMs} jobs a second`, paced))
  process.stdout.write(`\n${await tableOf('as fast as it can', hot)}`)
} finally {
  for (const { child } of ways) child.disconnect()
  collector.stop()
}

async function startWay(name: string, checkout: string, endpoint?: string) {
  const words = [checkout, ...(endpoint ? [endpoint] : [])]
  const child = fork(join(import.meta.dirname, 'one-process.ts'), words)
  await once(child, 'message')
  return { name, child, msPerJob: [] as number[], residentMb: 0 }
}

/** Each takes its turn in every round, one after the other: whatever else the machine does hits all alike. */
async function tableOf(pace: string, turn: Turn): Promise<string> {
  for (const way of ways) way.msPerJob = []
  // The first round is thrown away: V8 compiles.
  for (let round = -1; round < rounds; round++)
    for (const way of ways) {
      way.child.send(turn)
      const [answer] = (await once(way.child, 'message')) as [Answer]
      way.residentMb = answer.residentMb
      if (round >= 0) way.msPerJob.push(answer.processorMs / turn.jobs)
    }
  const off = quantile(ways[0]?.msPerJob ?? [], 0.5)
  return markdownTable(
    [`${pace}, ${rounds} × ${turn.jobs} jobs`, 'ms a job, least', 'median', 'above off', 'MB'],
    ways.map(({ name, msPerJob, residentMb }) => [
      name,
      ...[quantile(msPerJob, 0).toFixed(2), quantile(msPerJob, 0.5).toFixed(2)],
      ...[(quantile(msPerJob, 0.5) - off).toFixed(2), residentMb.toFixed(0)],
    ]),
  )
}
