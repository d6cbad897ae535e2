import { randomUUID } from 'node:crypto'
import { poolUserPermissions, servicePermissions } from '@avatar/contracts'
import { pick, seededRandom } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import type { NatsConnection } from '@nats-io/transport-node'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createWorld, type Orchestrator, type World } from './world.ts'

const seed = Number(process.env['FUZZ_SEED'] || Date.now() % 1_000_000)
/** Messages on each subject; at night there are more. */
const messages = Number(process.env['FUZZ_MESSAGES'] || 60)

let world: World
let orchestrator: Orchestrator
beforeAll(async () => {
  world = await createWorld({ divisor: 4, watchGraceMs: 6_000_000 })
  orchestrator = await world.startOrchestrator(undefined, { heldBack: () => undefined })
})
afterAll(async () => {
  await orchestrator?.stop()
  await world?.stop()
})

/** Everything on which a worker may publish, here and elsewhere. Its user may not reach further. */
const mayPublish = {
  sidecar: servicePermissions.sidecar.publish,
  'pool-runpod': poolUserPermissions('runpod').publish,
} as const

const random = seededRandom(seed)
const types = ['started', 'completed', 'failed', 'released', 'cancelled', 'nonsense']
/** A subject that the pattern allows, whose tokens mean something or nothing. */
function subjectOf(pattern: string): string {
  const token = () =>
    pick([randomUUID(), 'local', 'runpod', 'w1', 'x'.repeat(200), '0', '__proto__', 'ü'], random)
  return pattern
    .replace('evt.render.*', () => `evt.render.${pick(types, random)}`)
    .replace(/\*/g, token)
    .replace(/>$/, token)
}

const values = [null, 0, -1, 1e300, '', 'x', '\u0000', 'ü'.repeat(500), [], {}, true, [[[]]]]
const fields = [
  ...['type', 'jobId', 'owner', 'epoch', 'atMs', 'revision', 'workerId', 'incarnation', 'pool'],
  ...['jobs', 'state', 'rendered', 'code', 'ask', 'isIdle', 'waitMs', 'bytes', 'sha256', 'used'],
]

function payload(): Uint8Array | string {
  switch (random(6)) {
    case 0:
      return ''
    case 1:
      return Uint8Array.from({ length: random(3_000) }, () => random(256))
    case 2:
      return '['.repeat(20_000)
    case 3:
      return '{"jobId":'
    case 4:
      return 'x'.repeat(random(100_000))
    default: {
      const some = Array.from(
        { length: random(14) },
        () => [pick(fields, random), pick(values, random)] as const,
      )
      return JSON.stringify(Object.fromEntries(some))
    }
  }
}

async function publishAll(connection: NatsConnection, patterns: readonly string[]) {
  let sent = 0
  for (const pattern of patterns)
    for (let nth = 0; nth < messages; nth++) {
      const reply = random(2) === 0 ? { reply: `_INBOX_nobody.${nth}` } : {}
      connection.publish(subjectOf(pattern), payload(), reply)
      sent++
    }
  await connection.flush()
  return sent
}

it('malformed messages on every subject that a worker may use disturb nobody', async () => {
  console.log(`malformed messages: FUZZ_SEED=${seed}`)
  const refusedBefore = await deadLetters()
  let sent = 0
  for (const [user, patterns] of Object.entries(mayPublish)) {
    const { connection } = await world.nats.connectRawAs(user as keyof typeof mayPublish)
    sent += await publishAll(connection, patterns)
    await connection.close()
  }
  // The next good job goes through while the nonsense is still being refused, and after it.
  expect((await world.completed()).done.state).toBe('completed')
  await Promise.all([world.isIdle('orchestrator'), world.isIdle('storage')])
  expect((await world.completed()).done.state).toBe('completed')
  const refused = (await deadLetters()) - refusedBefore
  console.log(`malformed messages: ${sent} sent, ${refused} dead letters`)
  expect(refused).toBeGreaterThan(0)
  expect(orchestrator.isReady()).toBe(true)
  const faults = orchestrator.lines().filter(({ level }) => level === 'fatal')
  expect(faults).toEqual([])
  expect(await until(() => orchestrator.metrics.scrape())).toContain('dead_letters_total')
})

async function deadLetters(): Promise<number> {
  return (await world.operator.streamState('DLQ')).messages
}
