import { appendFile, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { streams, timings } from '@avatar/contracts'
import { jetstream } from '@nats-io/jetstream'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { backupBroker, provisionBroker, restoreBroker } from '../src/index.ts'
import { createTestNats, type TestNats } from '../testing/index.ts'

const savedAtMs = Date.UTC(2026, 10, 29, 12)

let nats: TestNats & { directory: string }
let raw: Awaited<ReturnType<TestNats['connectRawAs']>>
let folder: string

beforeAll(async () => {
  nats = await createTestNats()
  await nats.start()
  await provisionBroker(nats.operator, timings)
  raw = await nats.connectRawAs('operator')
  folder = await mkdtemp(join(tmpdir(), 'avatar-backup-'))
})

afterAll(async () => {
  await raw.connection.close()
  await nats.stop()
  await rm(folder, { recursive: true })
})

/** The broker without anything in it, as after the loss of its disk. */
async function emptied() {
  await raw.connection.close()
  await nats.kill()
  await rm(join(nats.directory, 'store'), { recursive: true })
  await nats.start()
  raw = await nats.connectRawAs('operator')
}

/** What counts of every stream and consumer. */
async function contents() {
  const found: Record<string, unknown> = {}
  for await (const { config, state } of raw.manager.streams.list()) {
    const { messages, last_seq } = state
    const consumers: Record<string, unknown> = {}
    for await (const { name, num_pending, ack_floor } of raw.manager.consumers.list(config.name))
      consumers[name] = { num_pending, acknowledged: ack_floor.stream_seq }
    if (config.name !== 'KV_rate') found[config.name] = { config, messages, last_seq, consumers }
  }
  return found
}

it('gives an empty broker back every stream, bucket, message and place of a reader', async () => {
  const client = jetstream(raw.connection)
  const large = 'x'.repeat(streams.EVENTS.maxMessageBytes - 100)
  for (let n = 0; n < 30; n++) await client.publish(`evt.job.submitted.${n}`, large)
  await client.publish('$KV.job.o_1.j1', 'a record')
  await client.publish('sched.delete.j1', '{}', {
    schedule: { specification: { at: new Date('2030-01-01') }, target: 'due.delete.j1' },
  })
  const reader = await client.consumers.get('EVENTS', 'orchestrator')
  for (let n = 0; n < 4; n++) await (await reader.next())?.ackAck()
  const before = await contents()
  const manifest = await backupBroker(nats.operator, join(folder, 'first'), savedAtMs)
  expect(manifest.savedAt).toBe('2026-11-29T12:00:00.000Z')
  // Nothing may refer to a record that the backup lacks.
  expect(manifest.streams.at(-1)?.name).toBe('KV_job')

  await emptied()
  expect(await contents()).toEqual({})
  await restoreBroker(nats.operator, join(folder, 'first'))

  expect(await contents()).toEqual(before)
  const next = await (
    await jetstream(raw.connection).consumers.get('EVENTS', 'orchestrator')
  ).next()
  expect(next?.subject).toBe('evt.job.submitted.4')
  expect(next?.string()).toBe(large)
})

it('lets nobody else read a backup', async () => {
  const modes = (await readdir(join(folder, 'first'))).map(async (name) => {
    const { mode } = await stat(join(folder, 'first', name))
    return mode & 0o077
  })
  expect(new Set(await Promise.all(modes))).toEqual(new Set([0]))
  expect((await stat(join(folder, 'first'))).mode & 0o077).toBe(0)
})

it('refuses a folder with something in it, and leaves that alone', async () => {
  const before = await readFile(join(folder, 'first/manifest.json'), 'utf8')
  const again = backupBroker(nats.operator, join(folder, 'first'), savedAtMs)
  await expect(again).rejects.toThrow(/first is not empty; name a new folder/)
  expect(await readFile(join(folder, 'first/manifest.json'), 'utf8')).toBe(before)
})

it('restores over what a broker holds only when it is forced to', async () => {
  await jetstream(raw.connection).publish('evt.job.submitted.later', 'after the backup')
  const held = await contents()
  const restore = restoreBroker(nats.operator, join(folder, 'first'))
  await expect(restore).rejects.toThrow(/not empty: SCHED, EVENTS, KV_job\. .*--force/)
  expect(await contents()).toEqual(held)

  await restoreBroker(nats.operator, join(folder, 'first'), { force: true })
  const { state } = await raw.manager.streams.info('EVENTS')
  expect(state.last_seq).toBe(30)
})

it('sends nothing of a backup that is damaged or not whole', async () => {
  await backupBroker(nats.operator, join(folder, 'damaged'), savedAtMs)
  await appendFile(join(folder, 'damaged/EVENTS.snapshot'), 'x')
  const held = await contents()
  const damaged = restoreBroker(nats.operator, join(folder, 'damaged'), { force: true })
  await expect(damaged).rejects.toThrow(/EVENTS.snapshot is damaged/)
  await rm(join(folder, 'damaged/EVENTS.snapshot'))
  const missing = restoreBroker(nats.operator, join(folder, 'damaged'), { force: true })
  await expect(missing).rejects.toThrow(/EVENTS.snapshot of the backup cannot be read/)
  await writeFile(join(folder, 'damaged/manifest.json'), '{}')
  const unknown = restoreBroker(nats.operator, join(folder, 'damaged'), { force: true })
  await expect(unknown).rejects.toThrow(/not the manifest of a backup/)
  await rm(join(folder, 'damaged/manifest.json'))
  const half = restoreBroker(nats.operator, join(folder, 'damaged'), { force: true })
  await expect(half).rejects.toThrow(/is no whole backup/)
  expect(await contents()).toEqual(held)
})
