import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { inboxPrefix, subjects } from '@avatar/contracts'
import { until } from '@avatar/service-kit/testing'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { z } from 'zod'
import { type System, startSystem } from './system.ts'

const accessSchema = z.object({
  pool: z.string(),
  nats: z.object({
    url: z.string(),
    user: z.string(),
    password: z.string(),
    inbox_prefix: z.string(),
  }),
})
type Access = z.infer<typeof accessSchema>['nats']

let system: System
const connections: NatsConnection[] = []
beforeAll(async () => {
  system = await startSystem()
})
afterAll(async () => {
  for (const connection of connections) await connection.close()
  expect(await system.stop()).toBe(0)
})

async function pool(...args: string[]) {
  const { exitCode, stdout, stderr } = await system.here('workers', 'pool', ...args, '--json')
  return { exitCode, stderr, said: stdout ? JSON.parse(stdout) : undefined }
}

async function comesIn({ url, user, password }: Access): Promise<NatsConnection> {
  const access = { user, pass: password, inboxPrefix: inboxPrefix(user) }
  const connection = await connect({ servers: url, ...access, reconnect: false })
  connections.push(connection)
  return connection
}

/** What the broker says to publications that it refuses, from now on. */
function refusalsOf(connection: NatsConnection): string[] {
  const refused: string[] = []
  void (async () => {
    for await (const status of connection.status())
      if (status.type === 'error') refused.push(status.error.message)
  })()
  return refused
}

it('gives a pool a user, which asks in the name of its pool alone', async () => {
  const { exitCode, said } = await pool('add', 'runpod')
  expect(exitCode).toBe(0)
  const { nats } = accessSchema.parse(said)
  expect(nats).toMatchObject({ user: 'pool-runpod', inbox_prefix: '_INBOX_pool-runpod' })

  const worker = await comesIn(nats)
  const refused = refusalsOf(worker)
  const forbidden = [
    ...[subjects.hello('local'), subjects.next('local'), subjects.claim('other')],
    ...['evt.job.submitted.x', '$KV.wake.runpod.x', '$JS.API.STREAM.INFO.KV_job', 'ctl.stop.w1'],
  ]
  const allowed = [subjects.hello('runpod'), subjects.next('runpod'), subjects.beat('w1')]
  for (const subject of [...allowed, ...forbidden]) worker.publish(subject, '{}')
  await until(() => refused.length >= forbidden.length, { what: 'refusals' })
  await worker.flush()
  expect(refused.toSorted()).toEqual(
    forbidden.map((subject) => `Permissions Violation for Publish to "${subject}"`).toSorted(),
  )

  expect((await pool('add', 'runpod')).stderr).toContain('There is a pool "runpod" already')
  expect((await pool('add', 'No Pool')).exitCode).not.toBe(0)
})

it('rotates without loss: the old user goes on until it is removed, and then ends at once', async () => {
  const stored = await readFile(join(system.data, 'credentials.json'), 'utf8')
  const { password } = JSON.parse(stored).poolUsers[0]
  const { url } = (await system.stackFile()).nats
  const bare = `nats://${new URL(url).host}`
  const old = await comesIn({ url: bare, user: 'pool-runpod', password, inbox_prefix: '' })
  let goneAt = 0
  const gone = old.closed().then(() => {
    goneAt = performance.now()
  })

  const { said } = await pool('rotate', 'runpod')
  const { nats } = accessSchema.parse(said)
  expect(nats.user).toBe('pool-runpod-2')
  const fresh = await comesIn(nats)
  await old.flush() // Still there.
  expect((await pool('list')).said.pools).toEqual([
    { pool: 'runpod', user: 'pool-runpod' },
    { pool: 'runpod', user: 'pool-runpod-2' },
  ])

  const removed = await pool('remove', 'runpod', '--older')
  const removedAt = performance.now()
  expect(removed.said).toEqual({ pool: 'runpod', removed: ['pool-runpod'] })
  await gone
  expect(goneAt - removedAt).toBeLessThan(1_000)
  await fresh.flush()
  expect(fresh.isClosed()).toBe(false)

  expect((await pool('remove', 'runpod')).said.removed).toEqual(['pool-runpod-2'])
  await until(() => fresh.isClosed(), { what: 'the end of the last user' })
  expect((await pool('remove', 'runpod')).stderr).toContain('There is no pool "runpod"')
})
