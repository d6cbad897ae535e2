import { createHash, randomUUID } from 'node:crypto'
import { apiKeyRecordSchema, buckets, type ProcessName, streams } from '@avatar/contracts'
import { systemClock } from '@avatar/service-kit'
import { z } from 'zod'
import { createApiClient } from '../api-client.ts'
import { processLives } from '../process-table.ts'
import { readinessOf } from '../service-readiness.ts'
import { livingSupervisor } from '../stack/leftovers.ts'
import { type StackFile, storeOf } from '../stack/stack-file.ts'
import { aborted } from '../stop-signals.ts'
import { asOperator, type System } from '../system.ts'
import { clockFindings } from './clocks.ts'
import { type Finding, finding, findingOf } from './finding.ts'

const healthWithinMs = 5_000
const clockMayDifferMs = 5_000

/** What can be wrong with a running system, seen from outside. */
export async function runningFindings(
  system: System,
  stack: StackFile | undefined,
): Promise<Finding[]> {
  const start = `npx avatar up${system.data ? ` --data ${system.data.path}` : ''}`
  const watcher = system.data && (await livingSupervisor(system.data))
  const restart = (name: ProcessName) => {
    const pid = stack?.processes[name].pid ?? 0
    return watcher && processLives(pid) ? `kill -9 ${pid} # avatar up starts it again` : start
  }
  const findings: Finding[] = []
  if (stack && system.data) findings.push(supervisor(watcher, start), processes(stack, start))
  if (stack) {
    findings.push(await durability(stack, restart('nats')))
    findings.push(await objects(stack, restart('s3')))
    findings.push(await readiness(stack))
  }
  if (system.nats) {
    const answer = await broker(system, restart('nats'))
    findings.push(answer)
    if (answer.isGood) findings.push(await brokerDisk(system, watcher !== undefined))
    findings.push(await keys(system, restart('nats')))
  }
  if (system.url) findings.push(...(await api(system.url, restart('ingest'))))
  findings.push(...(await clockFindings(system, stack)))
  return findings
}

function supervisor(found: { pid: number } | undefined, start: string): Finding {
  return finding(
    'supervisor',
    found !== undefined,
    found ? `process ${found.pid}` : 'avatar up was killed; nobody watches what it started',
    start,
  )
}

function processes(stack: StackFile, start: string): Finding {
  const dead = Object.entries({ ...stack.processes, ...stack.replicas }).filter(
    ([, { pid }]) => !processLives(pid),
  )
  const seen = dead.map(([name, { pid }]) => `${name} (${pid})`).join(', ')
  return finding('processes', dead.length === 0, seen ? `not alive: ${seen}` : 'all alive', start)
}

/** Whether each service takes work. The findings before this one cover the servers that it needs. */
async function readiness(stack: StackFile): Promise<Finding> {
  const unready = (await readinessOf(stack)).filter(({ trouble }) => trouble !== '')
  const seen = unready.map(({ name, trouble }) => `${name} ${trouble}`).join('; ')
  const logs = `look for "${unready[0]?.name}" in the output of avatar up`
  return finding('readiness', unready.length === 0, seen || 'every service is ready', logs)
}

/** The broker as its operator sees it: it answers, and has every stream. */
function broker(system: System, start: string): Promise<Finding> {
  return findingOf('broker', start, () =>
    asOperator(system, async (bus) => {
      const expected = Object.keys(streams)
      const looks = await Promise.allSettled(expected.map((name) => bus.streamState(name)))
      const missing = expected.filter((_name, index) => looks[index]?.status === 'rejected')
      if (missing.length > 0) throw new Error(`no stream ${missing.join(', ')}`)
      return `answers, ${expected.length} streams`
    }),
  )
}

/** Whether the broker can write: JetStream goes on answering while its disk is full. */
async function brokerDisk(system: System, isWatched: boolean): Promise<Finding> {
  const where = system.data ? `the disk of ${system.data.natsStore}` : "the broker's disk"
  const then = isWatched ? 'avatar up then restarts the broker' : 'then restart the broker'
  return findingOf('broker disk', `make room on ${where}; ${then}`, () =>
    asOperator(system, async (bus) => {
      const trouble = await bus.storageTrouble(healthWithinMs)
      if (trouble) throw new Error(trouble.sentence)
      return 'the broker can write'
    }),
  )
}

const jetStreamSchema = z.object({ config: z.object({ sync_always: z.boolean().optional() }) })

/** Without `sync_interval: always` a power failure could lose an accepted job. */
function durability(stack: StackFile, start: string): Promise<Finding> {
  return findingOf('durability', start, async () => {
    const answer = await fetch(`${stack.nats.monitor}/jsz?config=true`, {
      signal: AbortSignal.timeout(healthWithinMs),
    })
    const { config } = jetStreamSchema.parse(await answer.json())
    if (!config.sync_always) throw new Error('the broker does not sync each accepted publish')
    return 'each accepted publish is synced'
  })
}

/** Stores a small object and reads it back by presigned URLs, as the sidecar does. */
function objects({ s3 }: StackFile, start: string): Promise<Finding> {
  return findingOf('store', start, async () => {
    const store = storeOf(s3)
    const signal = AbortSignal.timeout(healthWithinMs)
    const key = `doctor/${randomUUID()}`
    const body = 'there and back'
    const sha256 = createHash('sha256').update(body).digest('hex')
    try {
      const content = { bytes: body.length, sha256, contentType: 'text/plain' }
      const put = await store.presignPut(key, content, 60)
      const stored = await fetch(put.url, { method: 'PUT', headers: put.headers, body, signal })
      if (!stored.ok) throw new Error(`an upload by presigned URL answered ${stored.status}`)
      const read = await fetch(await store.presignGet(key, 60), { signal })
      if ((await read.text()) !== body) throw new Error('what came back is not what was stored')
      return `stores and gives back in "${s3.bucket}"`
    } finally {
      // Do not wait for a store that hangs; fourteen bytes may stay in it.
      await Promise.race([store.delete(key).catch(() => undefined), aborted(signal)])
      store.stop()
    }
  })
}

/** A system without keys is new, not faulty. */
function keys(system: System, repair: string): Promise<Finding> {
  return findingOf('keys', repair, () =>
    asOperator(system, async (bus) => {
      const records = await bus.records(buckets.apikey, apiKeyRecordSchema)
      const living = (await records.list()).filter(({ revokedAtMs }) => revokedAtMs === undefined)
      if (living.length > 0) return `${living.length} in use`
      return 'none yet; make one with: npx avatar keys create --name NAME'
    }),
  )
}

async function api(url: string, start: string): Promise<Finding[]> {
  const health = await Promise.race([
    createApiClient(url).health(),
    systemClock.wait(healthWithinMs),
  ])
  const workers = health?.workers ?? []
  const problems = health?.problems.length ? `: ${health.problems.join(' ')}` : ''
  const logs = 'look for "sidecar" in the output of avatar up'
  return [
    finding(
      'API',
      health?.status === 'ok',
      health ? `${url} says ${health.status}${problems}` : `${url} does not answer`,
      problems ? 'cure what it names' : start,
    ),
    finding(
      'worker',
      workers.length > 0,
      workers.map((one) => `${one.engine} ${one.state}`).join(', ') || 'none is connected',
      logs,
    ),
    ...(health ? [await clockAgrees(url)] : []),
  ]
}

/** Compares with the Date header, which counts whole seconds. */
function clockAgrees(url: string): Promise<Finding> {
  return findingOf('clock of the API', 'sudo timedatectl set-ntp true', async () => {
    const answer = await fetch(`${url}/health`, { signal: AbortSignal.timeout(healthWithinMs) })
    const differsMs = Math.abs(Date.parse(answer.headers.get('date') ?? '') - systemClock.nowMs())
    if (differsMs > clockMayDifferMs)
      throw new Error(`differs from this machine's by ${Math.round(differsMs / 1000)} s`)
    return "agrees with this machine's"
  })
}
