import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  buckets,
  inboxPrefix,
  recordOf,
  schemaKey,
  schemaRecordSchema,
  serviceUsers,
  timings,
} from '@avatar/contracts'
import { connectBus, createLog } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { connect } from '@nats-io/transport-node'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { provisionBroker, renderNatsConf } from '../src/index.ts'
import { freePorts } from '../testing/index.ts'

const natsServer = join(import.meta.dirname, '../../.venv/bin/nats-server')
const passwords = recordOf(serviceUsers, (user) => `test-${user}`)
const routePassword = 'test-routes'

type Broker = { name: string; url: string; monitor: string; conf: string; server?: ChildProcess }

/** A broker of a cluster whose brokers meet on these ports. */
async function writeBroker(directory: string, name: string, routes: number[], own: number) {
  const [port = 0, monitorPort = 0] = await freePorts(2)
  const conf = join(directory, `${name}.conf`)
  await writeFile(
    conf,
    renderNatsConf({
      ...{ host: '127.0.0.1', port, monitorPort, storeDir: join(directory, name), passwords },
      ...{ reloadPassword: 'test-reload', publishers: {} },
      cluster: {
        name: 'avatar',
        port: own,
        peers: routes.map((route) => `127.0.0.1:${route}`),
        password: routePassword,
      },
    }),
  )
  const monitor = `http://127.0.0.1:${monitorPort}`
  return { name, conf, url: `nats://127.0.0.1:${port}`, monitor }
}

function start(broker: Broker) {
  const { name, conf } = broker
  broker.server = spawn(natsServer, ['-c', conf, '--name', name], { stdio: 'ignore' })
}

async function stop({ server }: Broker) {
  if (!server || server.exitCode !== null || server.signalCode !== null) return
  const gone = once(server, 'exit')
  server.kill('SIGTERM')
  await gone
}

const isHealthy = ({ monitor }: Broker) =>
  fetch(`${monitor}/healthz`).then(
    ({ ok }) => ok,
    () => false,
  )

let directory: string
let brokers: Broker[] = []
let ports: number[] = []

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'avatar-cluster-'))
  ports = await freePorts(3)
  brokers = await Promise.all(
    ports.map((port, at) => writeBroker(directory, `nats-${at}`, ports, port)),
  )
  for (const broker of brokers) start(broker)
  for (const broker of brokers) await until(() => isHealthy(broker), { what: broker.name })
})

afterAll(async () => {
  await Promise.all(brokers.map(stop))
  await rm(directory, { recursive: true, force: true })
})

const operator = ({ url }: Broker) => ({ url, user: 'operator', password: passwords.operator })

async function schemaSeenBy(broker: Broker): Promise<number | undefined> {
  const bus = await connectBus({
    ...operator(broker),
    inboxPrefix: inboxPrefix('operator'),
    log: createLog('test', 'silent'),
  })
  try {
    const meta = await bus.records(buckets.meta, schemaRecordSchema)
    return (await meta.find(schemaKey))?.value.number
  } finally {
    await bus.stop()
  }
}

describe('three brokers', () => {
  it('keep every stream three times and go on when one of them is away', async () => {
    const [one, two, three] = brokers
    if (!one || !two || !three) throw new Error('a broker is missing')
    // Healthy is each for itself; a leader of all may still be chosen.
    await until(
      () =>
        provisionBroker(operator(one), timings, { replicas: 3 }).then(
          () => true,
          () => false,
        ),
      { what: 'streams with three copies' },
    )
    expect(await provisionBroker(operator(two), timings, { replicas: 3 })).toEqual([])
    await stop(one)
    expect(
      await until(() => schemaSeenBy(three).catch(() => undefined), {
        what: 'the layout without one broker',
      }),
    ).toBeGreaterThan(0)
    start(one)
    await until(() => isHealthy(one), { what: 'the broker is back' })
  })

  it('tell clients of no other address, and let no stranger into the cluster', async () => {
    const [one] = brokers
    if (!one) throw new Error('a broker is missing')
    const connection = await connect({
      servers: one.url,
      user: 'operator',
      pass: passwords.operator,
    })
    expect(connection.info?.connect_urls ?? []).toEqual([])
    await connection.close()

    const conf = join(directory, 'stranger.conf')
    const [port = 0, routes = 0] = await freePorts(2)
    await writeFile(
      conf,
      JSON.stringify({
        ...{ server_name: 'stranger', listen: `127.0.0.1:${port}` },
        cluster: {
          name: 'avatar',
          listen: `127.0.0.1:${routes}`,
          routes: [`nats://route:guessed@127.0.0.1:${ports[0]}`],
        },
      }),
    )
    const stranger = spawn(natsServer, ['-c', conf], { stdio: ['ignore', 'ignore', 'pipe'] })
    let log = ''
    stranger.stderr.on('data', (text) => {
      log += text
    })
    const isRefused = () => /authorization violation/i.test(log)
    await until(isRefused, { what: 'the refusal' })
    const known = await routesOf(one)
    expect(known).not.toContain('stranger')
    expect(known).toContain('nats-1')
    const gone = once(stranger, 'exit')
    stranger.kill('SIGTERM')
    await gone
  })
})

async function routesOf({ monitor }: Broker): Promise<string[]> {
  const answer = await fetch(`${monitor}/routez`)
  const { routes }: { routes: { remote_name: string }[] } = JSON.parse(await answer.text())
  return routes.map(({ remote_name }) => remote_name)
}
