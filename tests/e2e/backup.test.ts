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
  until,
} from '../harness/index.ts'

const run = promisify(execFile)
/** Jobs that have ended when the backup is made. */
const endedJobs = Number(process.env['BACKUP_JOBS'] || 3)
/** A night's jobs take longer than a test usually may. */
const testTimeoutMs = 600_000 + endedJobs * 3_000
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

it(
  'gets keys, ended and queued jobs and timers back after the loss of the broker’s disk',
  async () => {
    const before = await startSystem({ dataDir })
    const key = await before.createKey('customer')
    const customer = before.clientWith(key)
    const done = await submitMany(customer, endedJobs, { prompt: 'null:prepared' })
    await expectAllCompletedOnce(before, done, { client: customer })
    const holderKey = await before.createKey('holder')
    const [held = ''] = await submitMany(before.clientWith(holderKey), 1, {
      prompt: 'null:seconds=3600',
    })
    await before.clientWith(holderKey).untilView(held, ({ stage }) => stage === 'rendering')
    const queued = await submitMany(customer, 2)
    const known = await knownOf(before, done)
    const backedUpAtMs = performance.now()
    await before.cli('system', 'backup', backup)
    const backupMs = performance.now() - backedUpAtMs
    const lost = await submitMany(customer, 3)
    const timers = await timersOf(before)
    expect(await before.stop()).toEqual([])
    const lossMs = performance.now() - backedUpAtMs

    await rm(join(dataDir, 'nats'), { recursive: true })
    const broker = await startBrokerAlone(dataDir)
    const restoredAtMs = performance.now()
    const restored = run(process.execPath, [avatar, 'system', 'restore', backup], {
      env: { ...process.env, ...broker.env },
    })
    await restored.finally(broker.stop)
    const restoreMs = performance.now() - restoredAtMs

    const after = await startSystem({ dataDir })
    const again = createClient(after.url, key)
    // The worker that had it is gone, as far as the restored broker knows.
    await createClient(after.url, holderKey).cancel(held)
    expect(await knownOf(after, done)).toEqual(known)
    const readyMs = performance.now() - restoredAtMs
    for (const jobId of done) expect((await again.result(jobId)).bytes).toBeGreaterThan(0)
    await expectAllCompletedOnce(after, [...done, ...queued], { client: again })
    for (const jobId of lost) expect((await again.send(`/status/${jobId}`)).status).toBe(404)
    expect(await timersOf(after)).toBeGreaterThanOrEqual(timers)
    // Ends with 1, which throws, where records, events and bucket contradict each other.
    const allJudged = async () => (await judged(after)) === done.length + queued.length + 1
    await until(allJudged, { what: 'jobs that ended some seconds ago', timeoutMs: 60_000 })
    expect(await after.stop()).toEqual([])
    const seconds = (ms: number) => (ms / 1_000).toFixed(1)
    const told = known.flatMap(({ facts, postings }) => [...facts, ...postings]).length
    console.log(
      `backup: ${done.length} ended jobs with ${known.length + told} records, events and postings compared, ` +
        `${queued.length} queued completed; backup ${seconds(backupMs)} s, restore ${seconds(restoreMs)} s, ` +
        `in service after ${seconds(readyMs)} s; lost the ${lost.length} jobs accepted in the ` +
        `${seconds(lossMs)} s after the backup began`,
    )
  },
  testTimeoutMs,
)

/** What the broker holds about jobs that have ended, which does not change any more. */
async function knownOf(system: System, jobIds: readonly string[]) {
  const broker = await system.broker()
  const knownOfJob = async (jobId: string) => ({
    record: await broker.recordOf(jobId),
    facts: await broker.factsOf(jobId),
    postings: await broker.postingsOf(jobId),
  })
  return Promise.all(jobIds.map(knownOfJob))
}

/** How many ended jobs `verify-jobs` found nothing wrong with. */
async function judged(system: System): Promise<number> {
  const { stdout } = await system.cli('verify-jobs', '--json')
  return JSON.parse(stdout).looked_at
}

/** The deletion timers that the broker holds. */
async function timersOf(system: System): Promise<number> {
  return (await system.broker()).count('SCHED', 'sched.delete.*')
}
