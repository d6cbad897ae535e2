import { networkInterfaces } from 'node:os'
import { limits, scaledTimings } from '@avatar/contracts'
import { until } from '@avatar/service-kit/testing'
import { jetstream } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/transport-node'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { provisionBroker } from '../src/index.ts'
import { createTestNats, type TestNats, type TestUser } from '../testing/index.ts'
import { mustNotPublish, mustNotSubscribe } from './permission-matrix.ts'

type Raw = Awaited<ReturnType<TestNats['connectRawAs']>>

let nats: TestNats
let operator: Raw
const connections = new Map<TestUser, Promise<Raw>>()
const x = '00000000-0000-4000-8000-000000000000'

beforeAll(async () => {
  nats = await createTestNats()
  await nats.start()
  operator = await connectAs('operator')
  await provisionBroker(nats.operator, scaledTimings(1), { publishers: ['acme', 'other'] })
})

afterAll(async () => {
  for (const raw of connections.values()) await (await raw).connection.close()
  await nats.stop()
})

function connectAs(user: TestUser): Promise<Raw> {
  const known = connections.get(user) ?? nats.connectRawAs(user)
  connections.set(user, known)
  return known
}

/** A JetStream client of one user. */
const clientAs = async (user: TestUser) => jetstream((await connectAs(user)).connection)

/** Collects the errors by which the broker refuses what this connection does from now on. */
function refusalsOf(connection: NatsConnection): string[] {
  const refused: string[] = []
  void (async () => {
    for await (const status of connection.status())
      if (status.type === 'error') refused.push(status.error.message)
  })()
  return refused
}

/** How many messages each stream has ever stored. */
async function stored() {
  const counts: Record<string, number> = {}
  for await (const { config, state } of operator.manager.streams.list())
    counts[config.name] = state.last_seq
  return counts
}

describe.each(Object.keys(mustNotPublish) as (keyof typeof mustNotPublish)[])('%s', (user) => {
  it('may not publish on subjects of others', async () => {
    const subjects = mustNotPublish[user]
    const before = await stored()
    const { connection } = await connectAs(user)
    const refused = refusalsOf(connection)
    for (const subject of subjects) connection.publish(subject, '{}')
    await until(() => refused.length >= subjects.length, {
      what: `refusals of ${subjects.filter((s) => !refused.some((r) => r.includes(`"${s}"`)))}`,
    }).catch(() => undefined)
    const expected = subjects.map((subject) => `Permissions Violation for Publish to "${subject}"`)
    expect(refused.toSorted()).toEqual(expected.toSorted())
    expect(await stored()).toEqual(before)
  })

  it('may not subscribe to subjects of others', async () => {
    const subjects = mustNotSubscribe[user]
    const { connection } = await connectAs(user)
    const refused = refusalsOf(connection)
    for (const subject of subjects) connection.subscribe(subject, { callback: () => undefined })
    await until(() => refused.length >= subjects.length).catch(() => undefined)
    const expected = subjects.map((to) => `Permissions Violation for Subscription to "${to}"`)
    expect(refused.toSorted()).toEqual(expected.toSorted())
  })
})

it('lets the orchestrator tell a worker to leave', async () => {
  const [sidecar, orchestrator] = [await connectAs('sidecar'), await connectAs('orchestrator')]
  const heard: string[] = []
  sidecar.connection.subscribe('ctl.drain.w1', {
    callback: (_, message) => {
      heard.push(message.subject)
    },
  })
  await sidecar.connection.flush()
  orchestrator.connection.publish('ctl.drain.w1', '{}')
  await until(() => heard.length > 0)
})

describe('a publisher', () => {
  const submit = 'intake.acme.job.submitted'

  it('cannot have the broker’s reply stored where it may not publish itself', async () => {
    const acme = await connectAs('acme')
    const before = await stored()
    for (const reply of [`$KV.job.acme.${x}`, `evt.job.submitted.${x}`, 'notify.other.job.failed'])
      acme.connection.publish(submit, '{}', { reply })
    await until(async () => (await stored())['INTAKE'] === (before['INTAKE'] ?? 0) + 3)
    expect(await stored()).toEqual({ ...before, INTAKE: (before['INTAKE'] ?? 0) + 3 })
  })

  it('gets an error for a message that is too large, and for schedules and expiry, which INTAKE lacks', async () => {
    const acme = await clientAs('acme')
    const refused = acme.publish(submit, 'x'.repeat(65_537))
    await expect(refused).rejects.toThrow('message size exceeds maximum allowed')
    const scheduled = acme.publish(submit, '{}', {
      schedule: { specification: { at: new Date() }, target: submit },
    })
    await expect(scheduled).rejects.toThrow()
    await expect(acme.publish(submit, '{}', { ttl: '5s' })).rejects.toThrow()
  })

  it('can use a message id that another publisher has used', async () => {
    const [acme, other] = await Promise.all([clientAs('acme'), clientAs('other')])
    expect((await acme.publish(submit, '{}', { msgID: '1' })).duplicate).toBe(false)
    const again = async () =>
      (await other.publish('intake.other.job.submitted', '{}', { msgID: '1' })).duplicate
    await until(async () => !(await again()), { timeoutMs: 2_000 })
  })

  it('that fills its inbox gets an error, and leaves room for everybody else', async () => {
    const [acme, other] = await Promise.all([clientAs('acme'), clientAs('other')])
    await operator.manager.streams.purge('INTAKE', { filter: submit })
    const flood = Array.from(
      { length: limits.waitingPerPublisher },
      () => acme.publish(submit, '{}', { timeout: 20_000 }), // So many at once take their time on one disk.
    )
    await Promise.all(flood)
    const tooMany = acme.publish(submit, '{}')
    await expect(tooMany).rejects.toThrow('maximum messages per subject exceeded')
    await other.publish('intake.other.job.submitted', '{}')
    await operator.manager.streams.purge('INTAKE', { filter: submit })
    await acme.publish(submit, '{}')
  })

  it('receives its own notifications, live and by its own consumer, and nobody else’s', async () => {
    const acme = await connectAs('acme')
    const received: string[] = []
    acme.connection.subscribe('notify.acme.>', {
      callback: (_error, { subject }) => void received.push(subject),
    })
    await acme.connection.flush()
    const notifier = jetstream(operator.connection)
    await notifier.publish('notify.other.job.completed', '{}')
    await notifier.publish('notify.acme.job.completed', '{"n":1}')
    await until(() => received.length > 0)
    expect(received).toEqual(['notify.acme.job.completed'])

    const inbox = jetstream(acme.connection, { domain: 'avatar' })
    const consumer = await inbox.consumers.get('NOTIFY', 'acme')
    const message = await consumer.next({ expires: 2_000 })
    expect(message?.json()).toEqual({ n: 1 })
    expect(await message?.ackAck()).toBe(true)
    expect(await consumer.next({ expires: 1_000 })).toBeNull()
    await expect(inbox.consumers.get('NOTIFY', 'other')).rejects.toThrow()
  })
})

describe('the broker', () => {
  it('syncs every publish to disk before it acknowledges it', async () => {
    const { config } = (await (await fetch(`${nats.monitor}/jsz`)).json()) as {
      config: { sync_always?: boolean }
    }
    expect(config.sync_always).toBe(true)
  })

  it('serves its monitoring on loopback only', async () => {
    const { port } = new URL(nats.monitor)
    const outside = Object.values(networkInterfaces())
      .flatMap((addresses) => addresses ?? [])
      .filter(({ internal, family }) => !internal && family === 'IPv4')
    for (const { address } of outside)
      await expect(fetch(`http://${address}:${port}/varz`)).rejects.toThrow()
    expect((await fetch(`${nats.monitor}/varz`)).ok).toBe(true)
  })

  it('refuses a user with the password of another', async () => {
    let hasEntered = false
    void nats.connectAs('operator', { password: nats.passwords.sidecar }).then((bus) => {
      hasEntered = true
      return bus.stop()
    })
    const closed = `${nats.monitor}/connz?state=closed&auth=true`
    const isRefused = async () => (await (await fetch(closed)).text()).includes('Authentication')
    await until(isRefused, { what: 'a refused connection' })
    expect(hasEntered).toBe(false)
  })
})
