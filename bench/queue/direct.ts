import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { buckets, type JobRecord, subjects } from '@avatar/contracts'
import { type System, until, type Victim } from '../../tests/harness/index.ts'
import { keepWorkerBusy, submitMany, timesOf } from '../pipeline/measurements.ts'
import { familyMs, watchProcessorTime } from '../pipeline/processor-time.ts'
import type { multipart, Sender } from '../pipeline/requests.ts'
import { markdownTable, summarise } from '../pipeline/statistics.ts'
import { queueDirectly } from './records.ts'

type Body = ReturnType<typeof multipart>

const statuses = 500
const calls = 20
const asks = 300

/**
 * Measures the services with very many jobs in the queue, whose records are written directly: how soon a
 * restarted orchestrator hands out a job, what the processes hold, and how long clients and workers wait.
 * On a busy machine the processor time of a call says more than the clock.
 */
export async function measureDirectly(
  system: System,
  sender: Sender,
  bodies: { job: Body; blocker: Body },
  size: { jobs: number; owners: number },
): Promise<string> {
  const rows: string[][] = []
  const report = (...cells: string[]) => {
    rows.push(cells)
    process.stderr.write(`${cells.join(' · ')}\n`)
  }
  /** Calls one after the other. */
  async function time(what: string, count: number, call: () => Promise<{ ms: number }>) {
    const processorTime = await watchProcessorTime(system)
    const times = await timesOf(count, call)
    const spent = processorTime()
    const { median, p95 } = summarise(times)
    report(
      what,
      ...[median, p95, Math.max(...times)].map((ms) => `${millis(ms)} ms`),
      ...([spent.ingest, spent.orchestrator, spent.nats] as const).map((ms) => millis(ms / count)),
    )
  }
  const { processes, replicas = {} } = await system.stack()
  const services = [...Object.keys(processes), ...Object.keys(replicas)] as Victim[]
  const named = (name: string) => services.filter((each) => each.replace(/-\d+$/, '') === name)
  async function reportMemory(when: string) {
    for (const name of [...named('ingest'), ...named('orchestrator')]) {
      const { residentBytes, peakBytes } = await memoryOfProcess((await system.pidOf(name)) ?? 0)
      report(`${name} resident ${when}`, mebibytes(residentBytes), '', mebibytes(peakBytes))
    }
  }
  async function reportRestart(
    names: readonly Victim[],
    what: string,
    done: () => Promise<unknown>,
  ) {
    const killedMs = performance.now()
    await Promise.all(names.map((name) => system.kill(name)))
    const startedMs = performance.now()
    await done()
    const endedMs = performance.now()
    const spent = await Promise.all(
      names.map(async (name) => familyMs((await system.pidOf(name)) ?? 0)),
    )
    report(
      `${names.join(', ')}: from start to ${what}`,
      `${millis(endedMs - startedMs)} ms`,
      '',
      `${millis(endedMs - killedMs)} ms`,
      `${spent.map(millis).join(', ')} spent`,
    )
  }

  const broker = await system.broker()
  const releaseWorker = await keepWorkerBusy(sender, bodies.blocker)
  const [template = ''] = await submitMany(sender, bodies.job, 1)
  const like = await until(() => broker.recordOf(template), { what: 'a record' })
  const own = await queueDirectly(broker, like, size.jobs, size.owners)
  const isWhole = () => untilQueued(sender, size.jobs)
  await isWhole()
  await reportMemory('once all is queued')
  await reportRestart(named('ingest'), 'a whole queue', isWhole)
  await reportMemory('after that restart')

  const random = () => own[Math.floor(Math.random() * own.length)] ?? ''
  const statusOf = (of: () => string) => () => get(sender, `/status/${of()}`)
  await timesOf(statuses, statusOf(random))
  await time('status of random jobs', statuses, statusOf(random))
  await time(
    'status of the first job',
    statuses,
    statusOf(() => own[0] ?? ''),
  )
  for (const path of ['/health', '/jobs', '/jobs?limit=100', '/usage'])
    await time(`GET ${path}`, calls, () => get(sender, path))
  await time('submit', calls, async () => ok(await sender.send('POST', '/generate', bodies.job)))

  const claims = watchClaims(broker)
  const drains = claims.next()
  await releaseWorker()
  await drains
  await time('status of random jobs, worker drains', statuses, statusOf(random))
  for (const path of ['/jobs', '/usage'])
    await time(`GET ${path}, worker drains`, calls, () => get(sender, path))

  await reportRestart(named('orchestrator'), 'the first claim', claims.next)
  await reportMemory('after that restart')

  // A second worker by hand: what it is given is declared lost after half a minute and queued again.
  await time('from ask to order', asks, () => ask(broker))
  const [one] = named('orchestrator').slice(1)
  if (one) {
    const restarted = system.kill(one)
    await time('from ask to order, another orchestrator restarts', asks, () => ask(broker))
    await restarted
  }
  claims.stop()
  await reportMemory('at the end')
  const head = [`${size.jobs} queued of ${size.owners} owners`, 'median', 'p95', 'most']
  head.push('ingest', 'orchestrator', 'nats')
  return markdownTable(
    head,
    rows.map((row) => head.map((_name, at) => row[at] ?? '')),
  )
}

type Broker = Awaited<ReturnType<System['broker']>>

/** Sees the records that the orchestrators write as claimed. */
function watchClaims({ connection }: Broker) {
  let waiting: ((atMs: number) => void)[] = []
  const subscription = connection.subscribe(`$KV.${buckets.job.name}.>`, {
    callback: (_error, message) => {
      if (message.data.length === 0 || message.json<JobRecord>().state !== 'claimed') return
      const nowMs = performance.now()
      const told = waiting
      waiting = []
      for (const tell of told) tell(nowMs)
    },
  })
  return {
    /** When the next claim is written. */
    next: () => new Promise<number>((tell) => waiting.push(tell)),
    stop: () => subscription.unsubscribe(),
  }
}

/** Asks for a job as a worker does. */
async function ask({ connection }: Broker) {
  const startedMs = performance.now()
  const body = {
    ...{ workerId: 'bench', incarnation: 'bench', ask: randomUUID(), pool: 'local' },
    ...{ secondsPerVideoSecond: 1, isIdle: true, waitMs: 2_000 },
  }
  const answer = await connection.request(subjects.next(body.pool), JSON.stringify(body), {
    timeout: 10_000,
  })
  const told = answer.json<{ answer: string }>()
  if (told.answer !== 'render') throw new Error(`no job: ${JSON.stringify(told)}`)
  return { ms: performance.now() - startedMs }
}

async function untilQueued(sender: Sender, jobs: number) {
  await until(
    async () => {
      const answer = await get(sender, '/health').catch(() => undefined)
      return answer && JSON.parse(answer.body).data.queue_depth >= jobs
    },
    { timeoutMs: 120_000, everyMs: 20, what: 'a whole queue' },
  )
}

async function get(sender: Sender, path: string) {
  return ok(await sender.send('GET', path))
}

function ok<T extends { status: number; body: string }>(answer: T): T {
  if (answer.status >= 300) throw new Error(`the API answered ${answer.status}: ${answer.body}`)
  return answer
}

/** What the kernel has given to a process, now and at most, in bytes. */
async function memoryOfProcess(pid: number) {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const of = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024
  return { residentBytes: of('VmRSS'), peakBytes: of('VmHWM') }
}

const millis = (value: number) => value.toFixed(value < 100 ? 1 : 0)
const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`
