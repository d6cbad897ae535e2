import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { reloadUser } from '@avatar/contracts'
import { until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { reloadBroker } from '../src/index.ts'
import { createTestNats, type TestNats } from '../testing/index.ts'

let nats: TestNats & { directory: string }
let access: { url: string; password: string }

beforeAll(async () => {
  nats = await createTestNats()
  await nats.start()
  access = { url: nats.url, password: 'test-reload' }
})

afterAll(() => nats.stop())

type Conf = { accounts: Record<string, unknown> } & Record<string, unknown>

/** Changes what the broker reads at its next reload. */
async function changed(change: (conf: Conf) => void): Promise<() => Promise<void>> {
  const path = join(nats.directory, 'nats.conf')
  const before = await readFile(path, 'utf8')
  const conf: Conf = JSON.parse(before)
  change(conf)
  await writeFile(path, JSON.stringify(conf))
  return () => writeFile(path, before)
}

describe('a reload over NATS', () => {
  it('disconnects at once who is named no more, and nobody else', async () => {
    const [acme, other, ingest] = await Promise.all(
      (['acme', 'other', 'ingest'] as const).map((user) => nats.connectRawAs(user)),
    )
    let isLost = false
    void (async () => {
      for await (const { type } of acme?.connection.status() ?? [])
        if (type === 'disconnect') isLost = true
    })()
    const restore = await changed(({ accounts }) => {
      delete accounts['PUBLISHER-acme']
    })
    await reloadBroker(access)
    await until(() => isLost || acme?.connection.isClosed(), { what: 'the end of acme' })
    await other?.connection.flush()
    await ingest?.connection.flush()
    await expect(nats.connectRawAs('acme')).rejects.toThrow(/Authorization/i)

    await restore()
    await reloadBroker(access)
    const again = await nats.connectRawAs('acme')
    for (const client of [acme, other, ingest, again]) await client?.connection.close()
  })

  it('tells why the broker refuses its configuration, which stays as it was', async () => {
    const restore = await changed((conf) => {
      conf['jetstream'] = { store_dir: 17 }
    })
    await expect(reloadBroker(access)).rejects.toThrow(/The broker refuses its configuration/)
    await restore()
    await reloadBroker(access)
  })

  it('is all that its user may ask for', async () => {
    const stranger = reloadBroker({ ...access, password: 'wrong' })
    await expect(stranger).rejects.toMatchObject({ isRefusal: true })
    const { connection } = await nats.connectRawAs(reloadUser)
    const refusals: string[] = []
    void (async () => {
      for await (const status of connection.status())
        if (status.type === 'error') refusals.push(status.error.message)
    })()
    const subjects = [
      '$SYS.REQ.SERVER.X.KICK',
      '$SYS.REQ.ACCOUNT.AVATAR.CONNZ',
      'evt.job.deleted.x',
    ]
    for (const subject of subjects) connection.publish(subject, '{}')
    await until(() => refusals.length === subjects.length, { what: 'every refusal' })
    await connection.close()
  })
})
