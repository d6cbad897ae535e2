import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { type ProcessName, processNames } from '@avatar/contracts'
import { until } from '@avatar/service-kit/testing'
import { z } from 'zod'
import { type Broker, connectBroker } from './broker.ts'
import { freePort } from './free-port.ts'
import { childrenOf, isAlive, processesOf } from './processes.ts'
import { type ProxyOptions, startProxies } from './proxies.ts'
import { type Client, createClient } from './rest-client.ts'
import { openStore, type Store } from './store.ts'

const run = promisify(execFile)
const repositoryRoot = resolve(import.meta.dirname, '../..')
const avatar = resolve(repositoryRoot, 'cli/src/main.ts')

const processSchema = z.object({ pid: z.int(), ports: z.record(z.string(), z.int()) })
const stackSchema = z.object({
  url: z.url(),
  processes: z.record(z.enum(processNames), processSchema),
  replicas: z.record(z.string(), processSchema),
  // An earlier build, which a benchmark compares, has none.
  observers: z.record(z.string(), z.url()).default({}),
  s3: z.object({
    endpoint: z.url(),
    bucket: z.string(),
    access_key_id: z.string(),
    secret_access_key: z.string(),
  }),
  nats: z.object({ url: z.url(), monitor: z.url() }),
})
type Stack = z.infer<typeof stackSchema>

/**
 * What can be killed: the processes of `stack.json`, replicas such as `orchestrator-2` among them, and
 * the sidecar's render process.
 */
export type Victim = ProcessName | `${ProcessName}-${number}` | 'child'

export type SystemOptions = ProxyOptions & {
  /**
   * Added to this process' environment. The default is the `null` engine, waits ten times shorter, and
   * rates that nobody reaches.
   */
  env?: Record<string, string>
  /** How many processes of a service run, as `--replicas` takes it: `ingest=2,orchestrator=2`. */
  replicas?: string
  /** Whether Prometheus and Alertmanager watch it; see `hasMonitoring`. */
  isObserved?: boolean
  /** The data folder of an earlier system. The default is a fresh one, which `stop` removes. */
  dataDir?: string
  /** How `avatar` is started. The default is Node itself, which is quicker than npx. */
  avatar?: readonly [string, ...string[]]
}

export type System = Awaited<ReturnType<typeof startSystem>>

/**
 * For tests in which a worker restarts and keeps its work. A Python process takes as long to start when
 * the waits are short, and must not be declared dead meanwhile.
 */
export const patientOrchestrator = { ORCHESTRATOR_TIMINGS_DIVISOR: '2' }

/** Tests and benchmarks come faster than a client may. */
const unlimited = {
  LIMIT_SUBMITS_PER_MINUTE: '1000000',
  LIMIT_SUBMIT_BURST: '1000000',
  LIMIT_READS_PER_MINUTE: '1000000',
  LIMIT_READ_BURST: '1000000',
  LIMIT_FAILED_KEYS_PER_MINUTE: '1000000',
  LIMIT_FAILED_KEY_BURST: '1000000',
}

const stopWithinMs = 60_000

/** Starts the real system as a user would: `avatar up` in its own process. */
export async function startSystem({
  env = {},
  dataDir,
  replicas,
  isObserved = false,
  avatar: [program, ...args] = [process.execPath, avatar],
  ...ways
}: SystemOptions = {}) {
  const data = dataDir ?? (await mkdtemp(join(tmpdir(), 'avatar-e2e-')))
  const proxies = await startProxies(ways, {
    brokerPort: async () => portOf('nats', 'client'),
    storePort: async () => portOf('s3', 's3'),
  })
  const lines: string[] = []
  const child: ChildProcess = spawn(
    program,
    [
      ...[...args, 'up', '--data', data, '--port', String(await freePort())],
      ...(replicas ? ['--replicas', replicas] : []),
      ...(isObserved ? ['--observe'] : []),
    ],
    {
      cwd: repositoryRoot,
      env: {
        ...{ ...process.env, ENGINE: 'null', TIMINGS_DIVISOR: '10', ...unlimited },
        ...{ ...proxies.env, ...env },
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  for (const stream of [child.stdout, child.stderr])
    if (stream) createInterface({ input: stream }).on('line', (line) => lines.push(line))

  const ready = /^avatar-api ready (http:\S+)$/
  const isRunning = () => child.exitCode === null && child.signalCode === null
  let url = ''
  try {
    await until(
      () => {
        if (!isRunning()) throw new Error('avatar up ended')
        url = lines.map((line) => ready.exec(line)?.[1]).find(Boolean) ?? ''
        return url
      },
      { what: 'the ready line of avatar up' },
    )
  } catch (error) {
    await end('SIGTERM')
    throw new Error(`avatar up did not get ready:\n${lines.slice(-60).join('\n')}`, {
      cause: error,
    })
  }

  async function end(signal: NodeJS.Signals) {
    if (!isRunning()) return
    const gone = once(child, 'exit')
    child.kill(signal)
    await Promise.race([
      gone,
      new Promise<void>((done) => setTimeout(done, stopWithinMs).unref()).then(() =>
        child.kill('SIGKILL'),
      ),
    ])
  }

  async function stack(): Promise<Stack> {
    return stackSchema.parse(JSON.parse(await readFile(join(data, 'stack.json'), 'utf8')))
  }

  /** Waits for `stack.json`, which is written soon after the servers have started. */
  async function portOf(name: ProcessName, port: string): Promise<number> {
    const look = () => stack().catch(() => undefined)
    const { processes } = await until(look, { what: 'stack.json' })
    const found = processes[name].ports[port]
    if (found === undefined) throw new Error(`stack.json names no port "${port}" of ${name}`)
    return found
  }

  /** Undefined while the sidecar has no render process. */
  async function pidOf(victim: Victim): Promise<number | undefined> {
    const { processes, replicas } = await stack()
    const all: Readonly<Record<string, { pid: number }>> = { ...processes, ...replicas }
    if (victim !== 'child') return all[victim]?.pid
    return childrenOf(processes.sidecar.pid)[0]
  }

  /** Runs another `avatar` command on this system and returns what it printed. */
  async function cli(...args: string[]) {
    return run(process.execPath, [avatar, ...args, '--data', data], { env: process.env })
  }

  async function createKey(name = 'e2e'): Promise<string> {
    const { stdout } = await cli('keys', 'create', '--name', name, '--json')
    return z.object({ key: z.string() }).parse(JSON.parse(stdout)).key
  }

  let connecting: Promise<Broker> | undefined
  let opened: Store | undefined
  const key = await createKey()
  return {
    url,
    dataDir: data,
    /** Every line that `avatar up` has printed. */
    lines,
    stack,
    cli,
    createKey,
    client: createClient(url, key) satisfies Client,
    clientWith: (otherKey: string) => createClient(url, otherKey),
    /** The broker as its operator sees it. */
    broker: async () => {
      connecting ??= connectBroker((await stack()).nats.url)
      return connecting
    },
    /** The store as the owner of the bucket sees it. */
    store: async () => {
      opened ??= openStore((await stack()).s3)
      return opened
    },
    pid: () => child.pid ?? -1,
    signalSupervisor: (signal: NodeJS.Signals) => child.kill(signal),
    pidOf,
    proxies,

    /** Signals a process to end, and waits for its successor. */
    async kill(victim: Victim, signal: NodeJS.Signals = 'SIGKILL') {
      const pid = await pidOf(victim)
      if (pid !== undefined) process.kill(pid, signal)
      await until(
        async () => {
          const now = await pidOf(victim)
          return now !== undefined && now !== pid && isAlive(now)
        },
        { what: `a new ${victim}` },
      )
    },

    /** Stops the system like Ctrl-C and returns the processes that it left behind: none, if all is well. */
    async stop(): Promise<number[]> {
      // A broker that could not be reached must not keep the system from stopping.
      await (await connecting?.catch(() => undefined))?.close()
      opened?.close()
      await end('SIGINT')
      await proxies.stop()
      const left = processesOf(data)
      for (const pid of left) process.kill(pid, 'SIGKILL')
      if (!dataDir) await rm(data, { recursive: true, force: true })
      return left
    },
  }
}
