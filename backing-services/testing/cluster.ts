import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { recordOf, serviceUsers } from '@avatar/contracts'
import { until } from '@avatar/service-kit/testing'
import { renderNatsConf } from '../src/index.ts'
import {
  type BrokerAccess,
  binaries,
  brokerAccess,
  freePorts,
  supervised,
  type TestServer,
} from './servers.ts'

/** One broker of a cluster, at its own address. */
type Node = BrokerAccess &
  TestServer & {
    name: string
    port: number
    monitor: string
    /** The `host:port` at which the others meet it. */
    door: string
  }

/** Three brokers that keep everything three times, behind one address as in Kubernetes. */
export type TestCluster = BrokerAccess &
  TestServer & {
    /** Each by itself. */
    brokers: readonly (BrokerAccess & Pick<Node, 'name' | 'monitor' | 'door'>)[]
    /** Which broker leads a stream now; undefined while there is none. */
    leaderOf(stream: string): Promise<string | undefined>
    killNode(name: string): Promise<void>
    /** Returns once it has what the others have. */
    startNode(name: string): Promise<void>
    /** Cuts a broker off from the others, and nobody else from it. */
    partition(name: string): Promise<void>
    heal(): void
  }

const names = ['nats-0', 'nats-1', 'nats-2'] as const

/**
 * Routes between the brokers go through proxies, by whose address the brokers know each other. The dialling
 * broker tells its id in its first line, which is new at each start, so a link can be cut from either end.
 */
export async function createTestCluster(): Promise<TestCluster> {
  const directory = await mkdtemp(join(tmpdir(), 'avatar-three-'))
  const passwords = recordOf(serviceUsers, (user) => `test-${user}`)
  const routes = recordOf(names, () => 0)
  const doors = recordOf(names, () => 0)
  for (const name of names) {
    const [route = 0, door = 0] = await freePorts(2)
    routes[name] = route
    doors[name] = door
  }
  const nobody = { name: '', id: '' }
  let isolated = nobody
  const proxies: Proxy[] = []
  for (const name of names)
    proxies.push(
      await startRouteProxy(
        doors[name],
        routes[name],
        (diallerId) => isolated.name === name || isolated.id === diallerId,
      ),
    )
  const nodes = await Promise.all(names.map(createNode))
  const front = await startFront(() => nodes.filter(({ pid }) => pid() > 0).map(({ port }) => port))
  const nodeOf = (name: string) => {
    const node = nodes.find((each) => each.name === name)
    if (!node) throw new Error(`there is no broker ${name}`)
    return node
  }

  async function createNode(name: (typeof names)[number]): Promise<Node> {
    const [port = 0, monitorPort = 0] = await freePorts(2)
    const storeDir = join(directory, name)
    const conf = JSON.parse(
      renderNatsConf({
        ...{
          host: '127.0.0.1',
          port,
          monitorPort,
          storeDir,
          passwords,
          reloadPassword: 'test-reload',
        },
        publishers: { acme: 'test-acme', other: 'test-other' },
        cluster: {
          ...{ name: 'avatar', port: routes[name], password: 'test-routes' },
          peers: names
            .filter((other) => other !== name)
            .map((other) => `127.0.0.1:${doors[other]}`),
        },
      }),
    )
    const door = `127.0.0.1:${doors[name]}`
    conf.cluster.advertise = door
    const path = join(directory, `${name}.conf`)
    await writeFile(path, JSON.stringify(conf))
    const monitor = `http://127.0.0.1:${monitorPort}`
    const logs = await mkdtemp(join(directory, 'log-'))
    const server = supervised(
      (stdio) => spawn(join(binaries, 'nats-server'), ['-c', path, '--name', name], { stdio }),
      async () => (await fetch(`${monitor}/varz`)).ok,
      logs,
    )
    const access = brokerAccess(`nats://127.0.0.1:${port}`, passwords)
    return { ...server, ...access, name, port, monitor, door }
  }

  async function streamInfo(stream: string): Promise<{ leader?: string } | undefined> {
    for (const { monitor } of nodes) {
      const answer = await fetch(`${monitor}/jsz?streams=1`).catch(() => undefined)
      if (!answer) continue
      const { account_details: accounts = [] } = (await answer.json()) as {
        account_details?: { stream_detail?: { name: string; cluster?: { leader?: string } }[] }[]
      } // As nats-server 2.15 prints it.
      const found = accounts
        .flatMap(({ stream_detail = [] }) => stream_detail)
        .find(({ name }) => name === stream)
      if (found?.cluster?.leader) return found.cluster
    }
    return undefined
  }
  const leaderOf = async (stream: string) => (await streamInfo(stream))?.leader

  return {
    ...brokerAccess(front.url, passwords),
    brokers: nodes,
    leaderOf,
    killNode: (name) => nodeOf(name).kill(),
    async startNode(name) {
      await nodeOf(name).start()
      await isHealthy(nodeOf(name))
    },
    async partition(name) {
      isolated = { name, id: await idOf(nodeOf(name)) }
      for (const proxy of proxies) proxy.cut()
    },
    heal() {
      isolated = nobody
    },
    async start() {
      // Each waits for the others, so none is ready alone.
      await Promise.all(nodes.map((node) => node.start()))
      for (const node of nodes) await isHealthy(node)
    },
    async stop() {
      await Promise.all(nodes.map((node) => node.stop()))
      await Promise.all([front, ...proxies].map((proxy) => proxy.stop()))
      await rm(directory, { recursive: true, force: true })
    },
    kill: () => Promise.reject(new Error('name one of the brokers')),
    pid: () => -1,
  }
}

const isHealthy = ({ name, monitor }: Node) =>
  until(async () => (await fetch(`${monitor}/healthz`).catch(() => undefined))?.ok, {
    what: `a healthy ${name}`,
  })

/** What a broker calls itself to the others, in this life. */
async function idOf({ monitor }: Node): Promise<string> {
  const { server_id: id } = (await (await fetch(`${monitor}/varz`)).json()) as { server_id: string }
  return id // As nats-server 2.15 prints it.
}

type Proxy = { url: string; cut(): void; stop(): Promise<void> }

/** Links of a broker that is cut off end, and it gets no new ones. */
async function startRouteProxy(
  port: number,
  target: number,
  isCut: (diallerId: string | undefined) => boolean,
): Promise<Proxy> {
  const links = new Set<{ diallerId: string | undefined; end: () => void }>()
  const server = createServer((client) => {
    const upstream = connect(target, '127.0.0.1')
    const link = {
      diallerId: undefined as string | undefined,
      end: () => [client, upstream].map((one) => one.destroy()),
    }
    links.add(link)
    tie(client, upstream, () => links.delete(link))
    upstream.pipe(client)
    client.once('data', (first: Buffer) => {
      link.diallerId = /"name":"([^"]+)"/.exec(first.toString('latin1'))?.[1]
      if (isCut(link.diallerId)) {
        link.end()
        return
      }
      upstream.write(first)
      client.pipe(upstream)
    })
  })
  return proxyOf(server, port, () => {
    for (const link of links) if (isCut(link.diallerId)) link.end()
  })
}

/** Every connection goes to the next broker that takes it. */
async function startFront(portsOf: () => number[]): Promise<Proxy> {
  let turn = 0
  const server = createServer((client) => {
    client.on('error', () => client.destroy())
    const ports = portsOf()
    const reach = (left: number) => {
      const port = ports[turn++ % Math.max(1, ports.length)]
      if (port === undefined || left === 0) {
        client.destroy()
        return
      }
      const upstream = connect(port, '127.0.0.1')
      upstream.once('connect', () => {
        upstream.removeAllListeners('error')
        tie(client, upstream, () => undefined)
        client.pipe(upstream)
        upstream.pipe(client)
      })
      upstream.once('error', () => reach(left - 1))
    }
    reach(ports.length)
  })
  const [port = 0] = await freePorts(1)
  return proxyOf(server, port, () => undefined)
}

function tie(client: Socket, upstream: Socket, ended: () => void) {
  for (const [socket, other] of [
    [client, upstream],
    [upstream, client],
  ] as const) {
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      ended()
      other.destroy()
    })
  }
}

async function proxyOf(server: Server, port: number, cut: () => void): Promise<Proxy> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `nats://127.0.0.1:${port}`,
    cut,
    async stop() {
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
    },
  }
}
