import { execFileSync } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { serviceNames } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { generatePublisher } from '../src/stack/credentials.ts'
import { avatar } from './cli-run.ts'

const natsServer = resolve(import.meta.dirname, '../../.venv/bin/nats-server')
const uid = 12_345

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'avatar-init-'))
})
afterAll(() => rm(folder, { recursive: true }))

const compose = () =>
  avatar(['system', 'init', '--for', 'compose', '--out', folder, '--uid', String(uid)])

/** Every file of the recipients, by its path in the folder. */
async function filesOf() {
  const found: Record<string, string> = {}
  for (const entry of await readdir(folder, { withFileTypes: true }))
    if (entry.isDirectory())
      for (const name of await readdir(join(folder, entry.name)))
        found[`${entry.name}/${name}`] = await readFile(join(folder, entry.name, name), 'utf8')
  return found
}

/** What the broker says about a configuration. */
async function brokersOpinion(conf: string) {
  const path = join(folder, 'checked.conf')
  await writeFile(path, conf)
  return execFileSync(natsServer, ['-t', '-c', path], { encoding: 'utf8', stdio: 'pipe' })
}

describe('system init', () => {
  it('gives each service its own secrets and prints none', async () => {
    const done = await compose()
    expect(done).toMatchObject({ exitCode: 0, stderr: '' })
    const files = await filesOf()
    const store = ['ingest', 'orchestrator', 'janitor', 'operator']
    expect(Object.keys(files).toSorted()).toEqual(
      [
        ...['nats/nats.conf', 's3/identities.json', 's3/grpc.crt', 's3/grpc.key'],
        'operator/NATS_PASSWORD',
        ...serviceNames.map((name) => `${name}/NATS_PASSWORD`),
        ...store.map((name) => `${name}/R2_SECRET_ACCESS_KEY`),
      ].toSorted(),
    )
    const passwords = Object.entries(files).filter(([path]) => path.endsWith('/NATS_PASSWORD'))
    expect(new Set(passwords.map(([, password]) => password)).size).toBe(passwords.length)
    for (const [, password] of passwords) {
      expect(done.stdout).not.toContain(password)
      expect(files['nats/nats.conf']).toContain(password)
    }
    expect(JSON.parse(files['s3/identities.json'] ?? '')).toMatchObject({
      identities: [
        {
          // What docker-compose.yml says as R2_ACCESS_KEY_ID.
          credentials: [{ accessKey: 'avatar', secretKey: files['ingest/R2_SECRET_ACCESS_KEY'] }],
        },
      ],
    })
    await expect(brokersOpinion(files['nats/nats.conf'] ?? '')).resolves.toBeDefined()
  })

  it('lets only the service’s own user read them', async () => {
    const isRoot = process.getuid?.() === 0
    for (const path of [...Object.keys(await filesOf()), 'sidecar', 'nats']) {
      const { mode, uid: owner } = await stat(join(folder, path))
      expect(mode & 0o777, path).toBe(path.includes('/') ? 0o400 : 0o500)
      if (isRoot) expect(owner, path).toBe(uid)
    }
    expect((await stat(join(folder, 'credentials.json'))).mode & 0o077).toBe(0)
  })

  it('gives the same ones again, and adds what is new', async () => {
    const before = await filesOf()
    const inodeOf = async (path: string) => (await stat(join(folder, path))).ino
    const inode = await inodeOf('nats/nats.conf')
    await compose()
    expect(await filesOf()).toEqual(before)
    expect(await inodeOf('nats/nats.conf')).toBe(inode)

    const path = join(folder, 'credentials.json')
    const credentials = JSON.parse(await readFile(path, 'utf8'))
    const publishers = { acme: generatePublisher('acme') }
    await writeFile(path, JSON.stringify({ ...credentials, publishers }))
    await compose()
    const after = await filesOf()
    expect(after['nats/nats.conf']).toContain(publishers.acme.natsPassword)
    expect(after['s3/identities.json']).toContain(publishers.acme.s3.accessKeyId)
    expect(after['ingest/NATS_PASSWORD']).toBe(before['ingest/NATS_PASSWORD'])
  })

  it('leaves everything as it was when the broker does not take a new publisher', async () => {
    const before = await filesOf()
    const env = {
      NATS_URL: 'nats://127.0.0.1:9',
      NATS_PASSWORD_FILE: join(folder, 'operator/NATS_PASSWORD'),
      S3_PUBLIC_ENDPOINT: 'http://127.0.0.1:8333',
    }
    const failed = await avatar(['publishers', 'create', 'late', '--config', folder], env)
    expect(failed).toMatchObject({ exitCode: 6, stdout: '' })
    expect(failed.stderr).toMatch(/did not let us in: connection refused/)
    expect(await filesOf()).toEqual(before)
    const listed = await avatar(['publishers', 'list', '--config', folder], env)
    expect(listed.stdout).toMatch(/^acme +intake\/acme\//m)
    const nowhere = await avatar(['publishers', 'list', '--config', join(folder, 'none')], env)
    expect(nowhere).toMatchObject({ exitCode: 1, stdout: '' })
    expect(nowhere.stderr).toMatch(/has no credentials; make them with: avatar system init/)
  })

  it('prints Secrets for Kubernetes, with brokers that are a cluster', async () => {
    const done = await avatar(['system', 'init', '--for', 'kubernetes', '--out', folder])
    const secret = z.object({
      kind: z.literal('Secret'),
      metadata: z.object({ name: z.string() }),
      stringData: z.record(z.string(), z.string()),
    })
    const list = z.object({ kind: z.literal('List'), items: z.array(secret) })
    const { items } = list.parse(JSON.parse(done.stdout))
    const named = new Map(items.map(({ metadata, stringData }) => [metadata.name, stringData]))
    const password = await readFile(join(folder, 'ingest/NATS_PASSWORD'), 'utf8')
    expect(named.get('avatar-ingest')?.['NATS_PASSWORD']).toBe(password)
    const conf = named.get('avatar-nats')?.['nats.conf'] ?? ''
    const { cluster } = JSON.parse(conf)
    expect(cluster).toMatchObject({ no_advertise: true, authorization: { user: 'route' } })
    expect(cluster.routes).toEqual(
      [0, 1, 2].map(
        (n) => `nats://route:${cluster.authorization.password}@nats-${n}.nats-routes:6222`,
      ),
    )
    // A repetition says the same: what is applied again changes nothing.
    const again = await avatar(['system', 'init', '--for', 'kubernetes', '--out', folder])
    expect(again).toEqual({ ...done, exitCode: 0, stderr: '' })
    await expect(brokersOpinion(conf)).resolves.toBeDefined()
  })

  it.each([
    [['--for', 'swarm', '--out', 'x'], /--for/],
    [['--out', 'x'], /--for/],
    [['--for', 'compose'], /--out/],
    [['--for', 'compose', '--out', 'x', '--uid', 'me'], /A user is a number/],
  ])('refuses %j', async (args, sentence) => {
    const refused = await avatar(['system', 'init', ...args])
    expect(refused.exitCode).toBe(2)
    expect(refused.stderr).toMatch(sentence)
  })
})
