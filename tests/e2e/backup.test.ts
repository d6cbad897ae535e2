import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  createClient,
  expectAllCompletedOnce,
  type System,
  startBrokerAlone,
  startSystem,
  submitMany,
} from '../harness/index.ts'

const run = promisify(execFile)
const avatar = resolve(import.meta.dirname, '../../cli/src/main.ts')

let folder: string
let dataDir: string
let backup: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'avatar-backup-'))
  dataDir = join(folder, 'data')
  backup = join(folder, 'backup')
})
afterAll(() => rm(folder, { recursive: true }))

it('gets keys, ended and queued jobs and timers back after the loss of the broker’s disk', async () => {
  const before = await startSystem({ dataDir })
  const key = await before.createKey('customer')
  const customer = before.clientWith(key)
  const done = await submitMany(customer, 3)
  await expectAllCompletedOnce(before, done, { client: customer })
  const holderKey = await before.createKey('holder')
  const [held = ''] = await submitMany(before.clientWith(holderKey), 1, {
    prompt: 'null:seconds=3600',
  })
  await before.clientWith(holderKey).untilView(held, ({ stage }) => stage === 'rendering')
  const queued = await submitMany(customer, 2)
  await before.cli('system', 'backup', backup)
  const [lost = ''] = await submitMany(customer, 1)
  const timers = await timersOf(before)
  expect(await before.stop()).toEqual([])

  await rm(join(dataDir, 'nats'), { recursive: true })
  const broker = await startBrokerAlone(dataDir)
  const restored = run(process.execPath, [avatar, 'system', 'restore', backup], {
    env: { ...process.env, ...broker.env },
  })
  await restored.finally(broker.stop)

  const after = await startSystem({ dataDir })
  const again = createClient(after.url, key)
  // The worker that had it is gone, as far as the restored broker knows.
  await createClient(after.url, holderKey).cancel(held)
  for (const jobId of done) expect((await again.result(jobId)).bytes).toBeGreaterThan(0)
  await expectAllCompletedOnce(after, [...done, ...queued], { client: again })
  expect((await again.send(`/status/${lost}`)).status).toBe(404)
  expect(await timersOf(after)).toBeGreaterThanOrEqual(timers)
  expect(await after.stop()).toEqual([])
})

/** The deletion timers that the broker holds. */
async function timersOf(system: System): Promise<number> {
  return (await system.broker()).count('SCHED', 'sched.delete.*')
}
