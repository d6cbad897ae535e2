import { networkInterfaces } from 'node:os'
import {
  inboxPrefix,
  limits,
  type ServiceUser,
  scaledTimings,
  serviceUsers,
} from '@avatar/contracts'
import { jetstream } from '@nats-io/jetstream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Bus, connectBus, createLog, provision, provisionPublisher } from '../src/index.ts'
import { createTestNats, type TestNats, until } from '../testing/index.ts'
import { mustNotHear, mustNotPublish } from './permission-matrix.ts'

let nats: TestNats
let operator: Bus
const connections = new Map<string, Bus>()
const timings = scaledTimings(1)
const log = createLog('test', 'silent')
const x = '00000000-0000-4000-8000-000000000000'

beforeAll(async () => {
  nats = await createTestNats()
  await nats.start()
  operator = await connectAs('operator')
  await provision(operator, timings)
  for (const name of ['acme', 'other']) await provisionPublisher(operator, name, timings)
}, 60_000)

afterAll(async () => {
  await Promise.all([...connections.values()].map((bus) => bus.stop()))
  await nats.stop()
})

async function connectAs(user: string): Promise<Bus> {
  const known = connections.get(user)
  if (known) return known
  const isService = (serviceUsers as readonly string[]).includes(user)
  const password = isService ? nats.passwords[user as ServiceUser] : `test-${user}`
  const bus = await connectBus({
    url: nats.url,
    user,
    password,
    inboxPrefix: inboxPrefix(user),
    log,
  })
  connections.set(user, bus)
  return bus
}

/** Does something as a user and collects what the broker refuses, in its own words. */
function refusalsOf(bus: Bus): string[] {
  const refused: string[] = []
  void (async () => {
    for await (const status of bus.connection.status())
      if (status.type === 'error') refused.push(status.error.message)
  })()
  return refused
}

/** How much every stream has ever taken. */
async function stored() {
  const counts: Record<string, number> = {}
  for await (const { config, state } of operator.manager.streams.list())
    counts[config.name] = state.last_seq
  return counts
}

describe.each(Object.keys(mustNotPublish) as (keyof typeof mustNotPublish)[])('%s', (user) => {
  it('may not publish what is not its to say', async () => {
    const subjects = mustNotPublish[user]
    const before = await stored()
    const bus = await connectAs(user)
    const refused = refusalsOf(bus)
    for (const subject of subjects) bus.connection.publish(subject, '{}')
    await until(() => refused.length >= subjects.length, {
      what: `refusals of ${subjects.filter((s) => !refused.some((r) => r.includes(`"${s}"`)))}`,
    }).catch(() => undefined)
    const expected = subjects.map((subject) => `Permissions Violation for Publish to "${subject}"`)
    expect(refused.toSorted()).toEqual(expected.toSorted())
    expect(await stored()).toEqual(before)
  })

  it('may not hear what is not meant for it', async () => {
    const subjects = mustNotHear[user]
    const bus = await connectAs(user)
    const refused = refusalsOf(bus)
    for (const subject of subjects) bus.connection.subscribe(subject, { callback: () => undefined })
    await until(() => refused.length >= subjects.length).catch(() => undefined)
    const expected = subjects.map((to) => `Permissions Violation for Subscription to "${to}"`)
    expect(refused.toSorted()).toEqual(expected.toSorted())
  })
})

describe('a publisher', () => {
  const submit = 'intake.acme.job.submitted'

  it('cannot have the broker’s answer stored where it may not publish', async () => {
    const acme = await connectAs('acme')
    const before = await stored()
    for (const reply of [`$KV.job.acme.${x}`, `evt.job.submitted.${x}`, 'notify.other.job.failed'])
      acme.connection.publish(submit, '{}', { reply })
    await until(async () => (await stored())['INTAKE'] === (before['INTAKE'] ?? 0) + 3)
    expect(await stored()).toEqual({ ...before, INTAKE: (before['INTAKE'] ?? 0) + 3 })
  })

  it('is told what the broker refuses: too much, and what INTAKE does not do', async () => {
    const acme = await connectAs('acme')
    const refused = acme.client.publish(submit, 'x'.repeat(65_537))
    await expect(refused).rejects.toThrow('message size exceeds maximum allowed')
    const scheduled = acme.client.publish(submit, '{}', {
      schedule: { specification: { at: new Date() }, target: submit },
    })
    await expect(scheduled).rejects.toThrow()
    await expect(acme.client.publish(submit, '{}', { ttl: '5s' })).rejects.toThrow()
  })

  it('is not silenced by the message ids of another', async () => {
    const [acme, other] = await Promise.all([connectAs('acme'), connectAs('other')])
    expect((await acme.client.publish(submit, '{}', { msgID: '1' })).duplicate).toBe(false)
    const again = async () =>
      (await other.client.publish('intake.other.job.submitted', '{}', { msgID: '1' })).duplicate
    await until(async () => !(await again()), { timeoutMs: 2_000 })
  })

  it('that floods its inbox is told so, and takes nobody else’s room', async () => {
    const [acme, other] = await Promise.all([connectAs('acme'), connectAs('other')])
    await operator.purge('INTAKE', submit)
    const flood = Array.from(
      { length: limits.waitingPerPublisher },
      () => acme.client.publish(submit, '{}', { timeout: 20_000 }), // So many at once, on one disk.
    )
    await Promise.all(flood)
    const tooMany = acme.client.publish(submit, '{}')
    await expect(tooMany).rejects.toThrow('maximum messages per subject exceeded')
    await other.client.publish('intake.other.job.submitted', '{}')
    await operator.purge('INTAKE', submit)
    await acme.client.publish(submit, '{}')
  })

  it('hears its own notifications, live and by its own consumer, and nobody else’s', async () => {
    const acme = await connectAs('acme')
    const heard: string[] = []
    acme.listen('notify.acme.>', ({ subject }) => void heard.push(subject))
    await acme.connection.flush()
    await operator.publish('notify.other.job.completed', {})
    await operator.publish('notify.acme.job.completed', { n: 1 })
    await until(() => heard.length > 0)
    expect(heard).toEqual(['notify.acme.job.completed'])

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

  it('tells of itself on loopback only', async () => {
    const { port } = new URL(nats.monitor)
    const outside = Object.values(networkInterfaces())
      .flatMap((addresses) => addresses ?? [])
      .filter(({ internal, family }) => !internal && family === 'IPv4')
    for (const { address } of outside)
      await expect(fetch(`http://${address}:${port}/varz`)).rejects.toThrow()
    expect((await fetch(`${nats.monitor}/varz`)).ok).toBe(true)
  })

  it('knows who comes: another’s password opens nothing', async () => {
    const entering = connectBus({
      url: nats.url,
      user: 'operator',
      password: nats.passwords.sidecar,
      inboxPrefix: inboxPrefix('operator'),
      log,
    })
    const late = until(() => false, { timeoutMs: 1_500 }).catch(() => 'refused')
    const outcome = entering.then(
      (bus) => bus.stop().then(() => 'entered'),
      () => 'refused',
    )
    expect(await Promise.race([outcome, late])).toBe('refused')
  })
})
