import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  inboxPrefix,
  recordOf,
  type reloadUser,
  type ServiceUser,
  serviceUsers,
} from '@avatar/contracts'
import {
  type Bus,
  type BusOptions,
  connectBus,
  createLog,
  createObjectStore,
} from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import {
  isPortFree,
  type OperatorAccess,
  removeSeaweedSockets,
  renderNatsConf,
  renderS3Identities,
  type SeaweedPart,
  seaweedArguments,
  seaweedParts,
} from '../src/index.ts'

export const binaries = join(import.meta.dirname, '../../.venv/bin')

/** A server process that can be stopped, killed and started again on the same ports. */
export type TestServer = {
  start(): Promise<void>
  stop(): Promise<void>
  kill(): Promise<void>
  pid(): number
}

export type TestNats = TestServer &
  BrokerAccess & { /** The address of its monitoring. */ monitor: string }

export type BrokerAccess = {
  url: string
  passwords: Record<ServiceUser, string>
  operator: OperatorAccess
  /** The bus of a service, the operator or a publisher. */
  connectAs(user: TestUser, options?: Partial<BusOptions>): Promise<Bus>
  /** The client library's own connection of a user, for what the bus does not offer. */
  connectRawAs(user: TestUser): Promise<{ connection: NatsConnection; manager: JetStreamManager }>
}

/**
 * A user of the broker, the one that reloads it, one of the two publishers of every test broker, or the
 * user of its one pool of workers elsewhere.
 */
export type TestUser = ServiceUser | typeof reloadUser | 'acme' | 'other' | 'pool-runpod'

export type TestS3 = TestServer & {
  endpoint: string
  bucket: string
  accessKeyId: string
  secretAccessKey: string
}

/**
 * Each vitest worker has its own range of ports and gives none twice, because a free port may already be
 * promised to another server. No range overlaps with the ports of `avatar up` or with those that the
 * kernel gives to outgoing connections.
 */
const portsOfWorker = { from: 2_048, count: 740, workers: 8 }
/** Ports of this range that `fetch` refuses to call (https://fetch.spec.whatwg.org/#port-blocking). */
const notForFetch = [
  ...[2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566],
  ...[6665, 6666, 6667, 6668, 6669, 6679, 6697],
]
const promised = new Set(notForFetch)

/** Free ports that nobody else gets. */
export async function freePorts(count: number): Promise<number[]> {
  const worker = Number(process.env['VITEST_POOL_ID'] ?? 0) % portsOfWorker.workers
  const from = portsOfWorker.from + worker * portsOfWorker.count
  const found: number[] = []
  while (found.length < count) {
    const port = from + randomInt(portsOfWorker.count)
    if (promised.has(port) || !(await isPortFree(port))) continue
    promised.add(port)
    found.push(port)
  }
  return found
}

/**
 * A real broker with its own folder, and the users and permissions of the real system. Its streams lie in
 * that folder, unless `storeDir` names another.
 */
export async function createTestNats(
  options: { storeDir?: string | undefined } = {},
): Promise<TestNats & { directory: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'avatar-nats-'))
  const [port = 0, monitorPort = 0] = await freePorts(2)
  const passwords = recordOf(serviceUsers, (user) => `test-${user}`)
  const conf = join(directory, 'nats.conf')
  await writeFile(
    conf,
    renderNatsConf({
      host: '127.0.0.1',
      port,
      monitorPort,
      storeDir: options.storeDir ?? join(directory, 'store'),
      passwords,
      reloadPassword: 'test-reload',
      publishers: { acme: 'test-acme', other: 'test-other' },
      poolUsers: [{ user: 'pool-runpod', pool: 'runpod', password: 'test-pool-runpod' }],
    }),
  )
  const monitor = `http://127.0.0.1:${monitorPort}`
  const url = `nats://127.0.0.1:${port}`
  const server = supervised(
    (stdio) => spawn(join(binaries, 'nats-server'), ['-c', conf], { stdio }),
    async () => (await fetch(`${monitor}/healthz`)).ok,
    directory,
  )
  return { ...server, ...brokerAccess(url, passwords), monitor, directory }
}

/** How a test reaches a broker, as any of its users. */
export function brokerAccess(url: string, passwords: Record<ServiceUser, string>): BrokerAccess {
  const passwordOf = (user: TestUser) =>
    user in passwords ? passwords[user as ServiceUser] : `test-${user}` // `in` does not narrow.
  return {
    ...{ url, passwords },
    operator: { url, user: 'operator', password: passwords.operator },
    connectAs: (user, options = {}) =>
      connectBus({
        ...{ url, user, password: passwordOf(user), inboxPrefix: inboxPrefix(user) },
        log: createLog('test', 'silent'),
        ...options,
      }),
    async connectRawAs(user) {
      const connection = await connect({
        servers: url,
        user,
        pass: passwordOf(user),
        inboxPrefix: inboxPrefix(user),
        maxReconnectAttempts: -1,
        reconnectTimeWait: 100,
      })
      return { connection, manager: await jetstreamManager(connection, { checkAPI: false }) }
    },
  }
}

/** A real S3 server with one bucket, and one identity that may do everything in it. */
export async function createTestS3(): Promise<TestS3> {
  const directory = await mkdtemp(join(tmpdir(), 'avatar-s3-'))
  const ports = await seaweedPorts()
  const { webdav: _none, ...grpcPorts } = await seaweedPorts()
  const bucket = 'media'
  const accessKeyId = 'test-access'
  const secretAccessKey = 'test-secret-0123456789'
  const identitiesFile = join(directory, 'identities.json')
  const storeFolder = join(directory, 'store')
  await mkdir(storeFolder)
  const ours = { accessKeyId, secretAccessKey }
  await writeFile(identitiesFile, renderS3Identities({ bucket, ours, publishers: {} }), {
    mode: 0o600,
  })
  const endpoint = `http://127.0.0.1:${ports.s3}`
  const store = createObjectStore({ endpoint, bucket, accessKeyId, secretAccessKey })
  const server = supervised(
    (stdio) =>
      spawn(
        join(binaries, 'weed'),
        seaweedArguments({ directory: storeFolder, identitiesFile, ports, grpcPorts }),
        { stdio, cwd: directory },
      ),
    store.ensureBucket,
    directory,
  )
  const stop = async () => {
    store.stop()
    await server.stop()
    await removeSeaweedSockets([...Object.values(ports), ...Object.values(grpcPorts)])
  }
  return { ...server, stop, endpoint, bucket, accessKeyId, secretAccessKey }
}

async function seaweedPorts(): Promise<Record<SeaweedPart, number>> {
  const found = await freePorts(seaweedParts.length)
  return recordOf(seaweedParts, (part) => found[seaweedParts.indexOf(part)] ?? 0)
}

/** Starts and ends a server. Its output goes into a file, for the error when it does not start. */
export function supervised(
  launch: (stdio: StdioOptions) => ChildProcess,
  isReady: () => Promise<boolean>,
  directory: string,
): TestServer {
  let child: ChildProcess | undefined
  const logFile = join(directory, 'server.log')
  const isAlive = () => child?.exitCode === null && child.signalCode === null
  const end = async (signal: NodeJS.Signals) => {
    if (!child || !isAlive()) return
    const gone = once(child, 'exit')
    child.kill(signal)
    await gone
  }
  const ready = async () => {
    if (!isAlive()) throw new Error('it has ended')
    return isReady().catch(() => false)
  }
  return {
    async start() {
      const log = await open(logFile, 'a')
      child = launch(['ignore', log.fd, log.fd])
      await log.close()
      await until(ready, { timeoutMs: 90_000, what: 'server ready' }).catch(async (cause) => {
        const output = await readFile(logFile, 'utf8')
        throw new Error(`${child?.spawnfile} did not start: ${output.slice(-2_000)}`, { cause })
      })
    },
    async stop() {
      await end('SIGTERM')
      await rm(directory, { recursive: true, force: true })
    },
    kill: () => end('SIGKILL'),
    pid: () => child?.pid ?? -1,
  }
}
