/**
 * Three owners with shares 1, 1 and 2 and jobs of different lengths wait all the time: who gets how much
 * of the GPU. The system is real, the engine is `null`.
 *
 *   npm run bench:fairness
 *   npm run bench:fairness -- --seconds 300 --workers 1
 */
import { parseArgs } from 'node:util'
import {
  type Client,
  holdWorkers,
  startSystem,
  submitMany,
  until,
  voice,
} from '../../tests/harness/index.ts'
import { markdownTable } from '../pipeline/statistics.ts'
import { worstPart } from './parts.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '300' },
    workers: { type: 'string', default: '1' },
  },
})
const seconds = Number(values.seconds)
const workers = Number(values.workers)
const renderSecondsPerSecond = 0.1
/** Jobs of each owner that wait at least: none of them ever has nothing to start. */
const backlog = 12

const job = (audioSeconds: number) => ({
  audio: voice({ seconds: audioSeconds }),
  prompt: `null:seconds=${audioSeconds * renderSecondsPerSecond}`,
})
const owners = [
  { name: 'short-jobs', share: 1, job: job(3) },
  { name: 'long-jobs', share: 1, job: job(15) },
  { name: 'double-share', share: 2, job: job(6) },
]

const system = await startSystem({
  replicas: `sidecar=${workers}`,
  env: {
    ...{ TIMINGS_DIVISOR: '1', LOG_LEVEL: 'warn' },
    NULL_SECONDS_PER_VIDEO_SECOND: String(renderSecondsPerSecond),
  },
})
try {
  const clients: Client[] = []
  for (const { name, share } of owners) {
    clients.push(system.clientWith(await system.createKey(name)))
    await system.cli('keys', 'limits', name, '--share', String(share))
  }
  const refill = async () => {
    for (const [at, client] of clients.entries()) {
      const { used } = (await client.usage()).unfinished_jobs
      if (used < 2 * backlog) await submitMany(client, 2 * backlog - used, owners[at]?.job)
    }
  }
  const release = await holdWorkers(system, workers)
  await refill()
  await release()
  const sinceMs = Date.now()
  const untilMs = sinceMs + seconds * 1000
  await until(
    async () => {
      await refill()
      return Date.now() > untilMs
    },
    { timeoutMs: 2 * seconds * 1000 + 60_000, everyMs: 500, what: 'the end of the measurement' },
  )

  const ids: string[] = []
  for (const client of clients) {
    const [newest] = (await client.jobs()).jobs
    const record = await (await system.broker()).recordOf(newest?.job_id ?? '')
    ids.push(record?.owner ?? '')
  }
  const renders = (await (await system.broker()).factsOfType('render.completed')).map(
    ({ owner, renderEndedAtMs, used }) => ({
      owner,
      sinceMs: renderEndedAtMs - 1000 * (used?.gpuSeconds ?? 0),
      untilMs: renderEndedAtMs,
    }),
  )
  const shares = new Map(owners.map(({ share }, at) => [ids[at] ?? '', share]))
  const whole = { sinceMs, untilMs }
  const rows = owners.map(({ name, share }, at) => {
    const id = ids[at] ?? ''
    const all = worstPart(renders, shares, id, whole, seconds * 1000)
    const minute = worstPart(renders, shares, id, whole, Math.min(60, seconds) * 1000)
    return [name, String(share), all.gpuSeconds.toFixed(1), percent(all.part), percent(minute.part)]
  })
  process.stdout.write(
    `${seconds} s, ${workers} worker${workers === 1 ? '' : 's'}, ${renders.length} renders.\n\n${markdownTable(
      ['owner', 'share', 'GPU seconds', 'of its part', 'in its worst minute'],
      rows,
    )}`,
  )
} finally {
  await system.stop()
}

function percent(part: number): string {
  return `${(100 * part).toFixed(1)} %`
}
