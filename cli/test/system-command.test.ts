import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createTestS3, type TestS3 } from '@avatar/backing-services/testing'
import { until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type BrokerOnly, startBroker } from './broker-only.ts'

let broker: BrokerOnly
let store: TestS3
let folder: string

beforeAll(async () => {
  broker = await startBroker()
  store = await createTestS3()
  await store.start()
  folder = await mkdtemp(join(tmpdir(), 'avatar-system-'))
})

afterAll(async () => {
  await broker.stop()
  await store.stop()
  await rm(folder, { recursive: true })
})

it('plans and provisions, and then has nothing left to do', async () => {
  const { connection, manager } = await broker.nats.connectRawAs('operator')
  await manager.streams.delete('DLQ')
  const plan = await broker.here(['system', 'provision', '--plan'])
  expect(plan).toEqual({ exitCode: 0, stdout: 'create stream DLQ\n', stderr: '' })
  await expect(manager.streams.info('DLQ')).rejects.toThrow('stream not found')

  const done = await broker.here(['system', 'provision', '--json'])
  expect(JSON.parse(done.stdout)).toEqual({
    changes: [{ kind: 'create', what: 'stream DLQ', fields: [] }],
  })
  const again = await broker.here(['system', 'provision'])
  expect(again).toEqual({ exitCode: 0, stdout: 'Everything is provisioned.\n', stderr: '' })
  await connection.close()
})

it("makes the store's bucket where the environment names one", async () => {
  const env = {
    S3_ENDPOINT: store.endpoint,
    R2_ACCESS_KEY_ID: store.accessKeyId,
    R2_SECRET_ACCESS_KEY: store.secretAccessKey,
    R2_BUCKET_NAME: 'another-bucket',
  }
  const done = await broker.here(['system', 'provision'], env)
  expect(done.exitCode).toBe(0)
  const answer = await fetch(`${store.endpoint}/another-bucket`)
  expect(answer.status).toBe(403) // It is there, and not for everybody.
  const missing = await broker.here(['system', 'provision'], { R2_BUCKET_NAME: 'another-bucket' })
  expect(missing.exitCode).toBe(2)
  expect(missing.stderr).toContain('R2_SECRET_ACCESS_KEY')
})

it('refuses to shrink a stream unless it is told what to do', async () => {
  const { connection, manager } = await broker.nats.connectRawAs('operator')
  const bytesOf = async () => (await manager.streams.info('DLQ')).config.max_bytes
  const { config } = await manager.streams.info('DLQ')
  const wider = 4 * config.max_bytes
  await manager.streams.update('DLQ', { ...config, max_bytes: wider })

  for (const args of [['--plan'], []]) {
    const refused = await broker.here(['system', 'provision', ...args])
    expect(refused.exitCode).toBe(1)
    expect(refused.stdout).toBe(`shrink stream DLQ: max_bytes ${wider} -> ${config.max_bytes}\n`)
    expect(refused.stderr).toMatch(/^Nothing was changed\.\nTo shrink .* --allow-shrink, or /)
    expect(await bytesOf()).toBe(wider)
  }
  expect((await broker.here(['system', 'provision', '--keep-wider'])).exitCode).toBe(0)
  expect(await bytesOf()).toBe(wider)
  expect((await broker.here(['system', 'provision', '--allow-shrink'])).exitCode).toBe(0)
  expect(await bytesOf()).toBe(config.max_bytes)
  await connection.close()
})

it('backs up and restores what the broker holds', async () => {
  await broker.postJob('2026-11-29', {})
  const first = join(folder, 'first')
  const saved = await broker.here(['system', 'backup', first])
  expect(saved).toMatchObject({ exitCode: 0, stderr: '' })
  expect(saved.stdout).toMatch(/^LEDGER +1 +\d+$/m)
  expect(await readdir(first)).toContain('manifest.json')

  const again = await broker.here(['system', 'backup', first])
  expect(again).toMatchObject({ exitCode: 1, stdout: '' })
  expect(again.stderr).toMatch(/is not empty; name a new folder/)
  const over = await broker.here(['system', 'restore', first])
  expect(over).toMatchObject({ exitCode: 1, stdout: '' })
  expect(over.stderr).toMatch(/The broker is not empty: LEDGER\. .*--force/)
  const forced = await broker.here(['system', 'restore', first, '--force', '--json'])
  expect(forced.exitCode).toBe(0)
  const { streams } = JSON.parse(forced.stdout)
  expect(streams).toContainEqual(expect.objectContaining({ name: 'LEDGER', messages: 1 }))
})

it('goes on making backups, deletes old ones and leaves other files alone', async () => {
  const backups = join(folder, 'regular')
  const [old, young] = ['2020-01-01T00-00-00Z', '2999-01-01T00-00-00Z']
  for (const name of [old, young, 'notes']) await mkdir(join(backups, name), { recursive: true })
  const command = ['system', 'backup', backups, '--every', '0.02', '--keep-days', '1']
  const run = broker.launch(command)
  await until(() => run.stdout().trimEnd().split('\n').length >= 2, { what: 'two backups' })
  run.signal('SIGTERM')
  expect(await run.exitCode).toBe(0)
  expect(run.stdout()).toMatch(/^\S+Z: \d+ messages; 1 old ones deleted\n\S+Z: \d+ messages\n/)
  const names = (await readdir(backups)).toSorted()
  expect(names).not.toContain(old)
  expect(names).toEqual(expect.arrayContaining([young, 'notes']))
  const made = names.filter((name) => name !== young && name !== 'notes')
  expect(made.length).toBeGreaterThanOrEqual(2)
  expect(await readdir(join(backups, String(made[0])))).toContain('manifest.json')
  expect(run.stderr()).toBe('')
})

it('tells each backup that was not made, and tries again', async () => {
  const command = ['system', 'backup', join(folder, 'failing'), '--every', '0.02']
  const run = broker.launch(command, { NATS_URL: 'nats://127.0.0.1:9' })
  await until(() => run.stderr().trimEnd().split('\n').length >= 2, { what: 'two failures' })
  run.signal('SIGTERM')
  expect(await run.exitCode).toBe(0)
  expect(run.stderr()).toMatch(/^\S+Z: no backup was made: .*connection refused/i)
  const alone = await broker.here(['system', 'backup', join(folder, 'x'), '--keep-days', '2'])
  expect(alone).toMatchObject({ exitCode: 2, stdout: '' })
  expect(alone.stderr).toContain('--every')
})

it('says that the broker is away', async () => {
  const away = { NATS_URL: 'nats://127.0.0.1:9' }
  const backup = await broker.here(['system', 'backup', join(folder, 'away')], away)
  expect(backup.exitCode).toBe(6)
  expect(backup.stderr).toMatch(/The broker did not let us in: connection refused/)
  const stranger = { NATS_PASSWORD: 'wrong' }
  for (const command of [['backup', join(folder, 'refused')], ['provision']]) {
    const refused = await broker.here(['system', ...command], stranger)
    expect(refused.exitCode).toBe(6)
    expect(refused.stderr).toMatch(/did not let us in: .*Authorization/i)
  }
})

it('remembers which release is installed, and which was before it', async () => {
  const image = (name: string) => `registry.example/${name}@sha256:${'a'.repeat(64)}`
  const releaseOf = (release: string) => ({
    ...{ release, schema: 1, contracts: 1 },
    images: { services: image('api'), preview: image('preview'), gpu: image('gpu') },
  })
  const note = (release: string, ...more: string[]) =>
    broker.here(['system', 'release', '--note', JSON.stringify(releaseOf(release)), ...more])
  const none = await broker.here(['system', 'release'])
  expect(none).toEqual({ exitCode: 0, stdout: 'No release was noted here.\n', stderr: '' })

  await note('1.0.0')
  await note('1.1.0')
  const twice = await note('1.1.0')
  expect(twice.stdout).toBe('1.1.0 is installed, before it 1.0.0.\n')
  const told = await broker.here(['system', 'release', '--json'])
  expect(JSON.parse(told.stdout)).toEqual({
    ...{ current: releaseOf('1.1.0'), previous: releaseOf('1.0.0'), rolled_back_from: null },
  })
  await note('1.0.0', '--rolled-back')
  const back = await note('1.0.0', '--rolled-back')
  expect(back.stdout).toBe('1.0.0 is installed, after 1.1.0 was given up.\n')

  for (const args of [['--note', '{}'], ['--note', 'x'], ['--rolled-back']])
    expect((await broker.here(['system', 'release', ...args])).exitCode).toBe(2)
})
