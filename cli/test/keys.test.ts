import { mkdir, readFile, rename, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { avatar } from './cli-run.ts'
import { type System, startSystem } from './system.ts'

let system: System
beforeAll(async () => {
  system = await startSystem()
})
afterAll(async () => {
  expect(await system.stop()).toBe(0)
})

const createKey = async (name: string): Promise<string> =>
  JSON.parse((await system.here('keys', 'create', '--name', name, '--json')).stdout).key
const jobsStatus = async (key: string) =>
  (await fetch(`${system.url}/jobs`, { headers: { authorization: `Bearer ${key}` } })).status

describe('avatar keys', () => {
  it('creates a key that works at once, and never shows it again', async () => {
    const created = await system.here('keys', 'create', '--name', 'alice', '--json')
    const { key, ...rest } = JSON.parse(created.stdout)
    expect(rest).toEqual({})
    expect(created.stderr).toBe('')
    expect(await jobsStatus(key)).toBe(200)
    for (const listed of [
      await system.here('keys', 'list', '--json'),
      await system.here('keys', 'list'),
    ]) {
      expect(listed.stdout).toContain('alice')
      expect(listed.stdout).not.toContain(key.split('_').at(-1))
    }
    const { keys } = JSON.parse((await system.here('keys', 'list', '--json')).stdout)
    expect(keys.find((one: { name: string }) => one.name === 'alice')).toMatchObject({
      last_four: key.slice(-4),
      revoked_at: null,
    })
  })

  it('rotates a key to a new one of the same owner, and the old one works for the grace period', async () => {
    const old = await createKey('bob')
    const rotated = await system.here('keys', 'rotate', 'bob', '--grace-hours', '1', '--json')
    const { key } = JSON.parse(rotated.stdout)
    expect(key).not.toBe(old)
    expect([await jobsStatus(old), await jobsStatus(key)]).toEqual([200, 200])
    const last = JSON.parse(
      (await system.here('keys', 'rotate', '--name', 'bob', '--json')).stdout,
    ).key
    await until(async () => (await jobsStatus(old)) === 401, { what: 'the end of the oldest key' })
    expect([await jobsStatus(key), await jobsStatus(last)]).toEqual([200, 200])
  })

  it('revokes a key within five seconds, for good', async () => {
    const key = await createKey('carol')
    expect(await jobsStatus(key)).toBe(200)
    const revoked = await system.here('keys', 'revoke', 'carol', '--json')
    expect(JSON.parse(revoked.stdout)).toMatchObject({ name: 'carol', revoked: true })
    await until(async () => (await jobsStatus(key)) === 401, { timeoutMs: 5_000 })
    const again = await system.here('keys', 'rotate', 'carol')
    expect(again).toMatchObject({ exitCode: 1, stdout: '' })
    expect(again.stderr).toContain('is revoked')
  })

  it('asks which one is meant where a name is shared, unknown or missing', async () => {
    await createKey('twin')
    await createKey('twin')
    expect((await system.here('keys', 'revoke', 'twin')).stderr).toContain('More than one key')
    expect((await system.here('keys', 'revoke', 'nobody')).stderr).toContain(
      'There is no key "nobody"',
    )
    expect((await system.here('keys', 'revoke')).exitCode).toBe(2)
  })

  it('finds the broker by the environment alone, as stack.json tells it', async () => {
    const { nats } = await system.stackFile()
    const listed = await avatar(['keys', 'list', '--json'], { NATS_URL: nats.url })
    expect(listed.exitCode).toBe(0)
    const { username, password, host } = new URL(nats.url)
    const apart = { NATS_URL: `nats://${host}`, NATS_USER: username, NATS_PASSWORD: password }
    expect((await avatar(['keys', 'list', '--json'], apart)).stdout).toBe(listed.stdout)
    const nameless = await avatar(['keys', 'list'], { NATS_URL: `nats://${host}` })
    expect(nameless).toMatchObject({ exitCode: 2, stdout: '' })
    expect((await avatar(['keys', 'list'], { NATS_URL: 'nonsense' })).exitCode).toBe(2)
    expect(
      (await avatar(['keys', 'list', '--json'], { AVATAR_DATA_DIR: system.data })).stdout,
    ).toBe(listed.stdout)
  })

  it('reports that the broker refuses it, instead of hanging', async () => {
    const { nats } = await system.stackFile()
    const wrong = nats.url.replace(/:[^:@]+@/, ':wrong@')
    const refused = await avatar(['keys', 'list', '--json'], { NATS_URL: wrong })
    expect(refused).toMatchObject({ exitCode: 6, stdout: '' })
    expect(refused.stderr).toContain('did not let us in')
  })
})

describe('avatar publishers create', () => {
  it('creates credentials that both servers accept, and shows them once', async () => {
    const created = await system.here('publishers', 'create', 'acme', '--json')
    expect(created).toMatchObject({ exitCode: 0, stderr: '' })
    const told = JSON.parse(created.stdout)
    expect(told).toMatchObject({
      name: 'acme',
      nats: { user: 'acme', submit_subject: 'intake.acme.job.submitted' },
      s3: { prefix: 'intake/acme/' },
    })
    const asAcme = { NATS_URL: told.nats.url, NATS_USER: 'acme', NATS_PASSWORD: told.nats.password }
    // Let in, but not allowed to read the keys.
    expect((await avatar(['keys', 'list'], asAcme)).stderr).not.toContain('did not let us in')
    const twice = await system.here('publishers', 'create', 'acme')
    expect(twice.exitCode).toBe(1)
    expect(twice.stderr).toContain('already')
    expect((await system.here('publishers', 'create', 'Not A Name')).exitCode).toBe(2)
  })

  it('are listed without their secrets, and end at once when they are removed', async () => {
    const { stdout } = await system.here('publishers', 'create', 'brief', '--json')
    const { nats, s3 } = JSON.parse(stdout)
    const listed = await system.here('publishers', 'list', '--json')
    expect(JSON.parse(listed.stdout).publishers).toContainEqual({
      ...{ name: 'brief', prefix: 'intake/brief/', access_key_id: s3.access_key_id },
    })
    for (const secret of [nats.password, s3.secret_access_key])
      expect(listed.stdout).not.toContain(secret)
    expect((await system.here('publishers', 'list')).stdout).toMatch(/^brief +intake\/brief\//m)

    const removed = await system.here('publishers', 'remove', 'brief')
    expect(removed).toEqual({ exitCode: 0, stdout: 'brief is removed\n', stderr: '' })
    const asBrief = { NATS_URL: nats.url, NATS_USER: 'brief', NATS_PASSWORD: nats.password }
    expect((await avatar(['keys', 'list'], asBrief)).stderr).toContain('did not let us in')
    const again = await system.here('publishers', 'remove', 'brief')
    expect(again).toMatchObject({ exitCode: 1, stderr: 'avatar: There is no publisher "brief".\n' })
  })

  it('loses none when several are created at once', async () => {
    const names = ['one', 'two', 'three']
    const created = await Promise.all(
      names.map((name) => system.here('publishers', 'create', name)),
    )
    expect(created.map(({ exitCode }) => exitCode)).toEqual([0, 0, 0])
    const conf = await readFile(join(system.data, 'nats.conf'), 'utf8')
    const identities = await readFile(join(system.data, 's3-identities.json'), 'utf8')
    for (const name of names) {
      expect(conf).toContain(`intake.${name}.job.submitted`)
      expect(identities).toContain(`intake/${name}/`)
    }
  })

  it('changes nothing when it fails half-way', async () => {
    const identities = join(system.data, 's3-identities.json')
    await rename(identities, `${identities}.away`)
    await mkdir(identities) // Cannot be written.
    const failed = await system.here('publishers', 'create', 'halfway', '--json')
    expect(failed).toMatchObject({ exitCode: 1, stdout: '' })
    await rmdir(identities)
    await rename(`${identities}.away`, identities)
    expect((await system.here('publishers', 'create', 'halfway', '--json')).exitCode).toBe(0)
  })
})
