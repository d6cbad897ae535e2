/**
 * Measures what jobs that wait in the queue cost ingest and the orchestrator: their memory, and the time
 * of a status. Linux only.
 *
 *   npm run bench:queue
 *   npm run bench:queue -- --jobs 1500,3000
 *   npm run bench:queue -- --jobs 100000 --direct --owners 1000 --replicas orchestrator=2
 *
 * With `--direct` the records are written without submissions, which takes seconds instead of an hour, and
 * restarts, reads and asks are measured beside them.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startSystem, voice } from '../../tests/harness/index.ts'
import { keepWorkerBusy, statusOf, submitMany, timesOf } from '../pipeline/measurements.ts'
import { createSender, multipart } from '../pipeline/requests.ts'
import { markdownTable, summarise } from '../pipeline/statistics.ts'
import { measureDirectly } from './direct.ts'
import { inspectorSettings, memoryOf } from './heap-of.ts'

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '1500,3000' },
    direct: { type: 'boolean', default: false },
    owners: { type: 'string', default: '100' },
    replicas: { type: 'string' },
  },
})
const counts = values.jobs.split(',').map(Number)
const statuses = 200
/** Until V8 has compiled the services, and their pools and caches have their size. */
const warmUps = 100

const portrait = await readFile(join(import.meta.dirname, '../../examples/portrait.jpg'))
const job = multipart(portrait, voice({ seconds: 1 }))
const blocker = multipart(portrait, voice({ seconds: 1 }), 'null:seconds=3600')
const inspectorPorts = { ingest: 9_341, orchestrator: 9_342 } as const
type Measured = keyof typeof inspectorPorts
const measured = Object.keys(inspectorPorts) as Measured[]

const system = await startSystem({
  ...(values.replicas ? { replicas: values.replicas } : {}),
  env: {
    QUEUE_MAX_JOBS: '1000000',
    LIMIT_UNFINISHED_JOBS: '1000000',
    TIMINGS_DIVISOR: '1',
    LOG_LEVEL: 'warn',
    ...(values.direct ? {} : inspectorSettings(inspectorPorts)),
  },
})
const sender = createSender(system.url, { authorization: `Bearer ${await system.createKey()}` })
try {
  if (values.direct) await direct()
  else await submitted()
} finally {
  sender.stop()
  await system.stop()
}

async function direct() {
  const size = { jobs: Number(values.jobs), owners: Number(values.owners) }
  process.stdout.write(await measureDirectly(system, sender, { job, blocker }, size))
}

async function submitted() {
  const releaseWorker = await keepWorkerBusy(sender, blocker)
  const queued = await submitMany(sender, job, warmUps)
  const rows: string[][] = []
  const first = new Map<Measured, { jobs: number; heapBytes: number }>()

  async function measure() {
    const { processes } = await system.stack()
    const last = queued.at(-1) ?? ''
    const times = await timesOf(statuses, () => statusOf(sender, last))
    for (const name of measured) {
      const memory = await memoryOf(processes[name].pid, inspectorPorts[name])
      const before = first.get(name)
      if (!before) first.set(name, { jobs: queued.length, heapBytes: memory.heapBytes })
      const perJob =
        before && (memory.heapBytes - before.heapBytes) / (queued.length - before.jobs) / 1024
      rows.push([
        name,
        String(queued.length),
        mebibytes(memory.residentBytes),
        mebibytes(memory.heapBytes),
        mebibytes(memory.externalBytes),
        perJob === undefined ? '' : perJob.toFixed(2),
        name === 'ingest' ? summarise(times).median.toFixed(1) : '',
      ])
    }
  }

  await measure()
  for (const count of counts) {
    queued.push(...(await submitMany(sender, job, count - queued.length)))
    await measure()
  }
  await releaseWorker()
  const head = ['process', 'queued', 'resident MiB', 'heap MiB', 'external MiB']
  process.stdout.write(markdownTable([...head, 'heap KiB a job', 'status ms'], rows))
}

function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1)
}
