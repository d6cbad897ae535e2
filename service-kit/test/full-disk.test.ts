import { randomUUID } from 'node:crypto'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buckets, subjects } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { type Bus, createLog } from '../src/index.ts'
import { mountSmallDisk, type SmallDisk, until } from '../testing/index.ts'
import { type BrokerWorld, createBrokerWorld } from './broker-world.ts'

const withinMs = 2_000
const full = { code: 'BROKER_UNAVAILABLE', details: { problem: 'disk_full' } }

let disk: SmallDisk | undefined
let world: BrokerWorld
let bus: Bus
const lines: Record<string, unknown>[] = []

beforeAll(async () => {
  disk = await mountSmallDisk(await mkdtemp(join(tmpdir(), 'avatar-disk-')), 16 * 2 ** 20)
  if (!disk) return
  world = await createBrokerWorld({ storeDir: disk.path })
  const destination = { write: (line: string) => void lines.push(JSON.parse(line)) }
  bus = await world.connect({ log: createLog('test', 'info', { destination }) })
})

afterAll(async () => {
  await world?.stop()
  await disk?.unmount()
})

/** Repeats a write until it fails. @returns how many succeeded */
async function untilItFails(write: () => Promise<unknown>): Promise<number> {
  for (let count = 0; ; count++)
    try {
      await write()
    } catch (error) {
      expect(error).toMatchObject(full)
      expect(String(error)).toContain('disk is full')
      return count
    }
}

describe('a broker whose disk is full', () => {
  it('is named as the cause, and after room and a restart it has everything it accepted', async ({
    skip,
  }) => {
    if (!disk) return skip('only root may mount a small disk')
    const records = await bus.records(buckets.job, z.string())
    const keys: string[] = []
    const createRecord = async () => {
      const key = `acme.${randomUUID()}`
      await records.create(key, 'x'.repeat(1_000))
      keys.push(key)
    }
    const subject = `evt.job.queued.${randomUUID()}`
    const publish = () => bus.publish(subject, 'x'.repeat(1_000), { timeoutMs: withinMs })
    await createRecord()
    await publish()
    expect(await bus.storageTrouble(withinMs)).toBeUndefined()

    await disk.fill()
    // The broker cannot write the record stream, and then not the event stream either.
    const created = 1 + (await untilItFails(createRecord))
    expect(keys).toHaveLength(created)
    const published = 1 + (await untilItFails(publish))
    expect((await bus.storageTrouble(withinMs))?.problem).toBe('disk_full')
    const waiting = bus.publish(subjects.scheduledDeletion(randomUUID()), 'x'.repeat(5_000))
    await until(() =>
      lines.some(({ code, reason }) => code === 'STORAGE_FULL' && reason === 'full'),
    )

    await disk.makeRoom()
    // A failed write keeps a stream of NATS from writing until it is restarted, room or not.
    await expect(createRecord()).rejects.toMatchObject(full)
    await world.nats.kill()
    await world.nats.start()
    expect(await waiting).toBe('stored')
    await until(async () => (await bus.storageTrouble(withinMs)) === undefined)
    for (const key of keys) expect((await records.find(key))?.value).toBeDefined()
    expect(await bus.readStream('EVENTS', subject, 1, 1_000)).toHaveLength(published)
    await createRecord()
    await publish()
  })
})
