import { execFile } from 'node:child_process'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createClient, startBrokerAlone, startSystem, submitMany, until } from '../harness/index.ts'

const root = resolve(import.meta.dirname, '../..')
const avatar = join(root, 'cli/src/main.ts')

/** The lines of a page's shell blocks. */
async function commandsOf(page: string): Promise<string[]> {
  const text = await readFile(join(root, 'docs', page), 'utf8')
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].flatMap(([, block = '']) =>
    block.split('\n').filter((line) => line !== ''),
  )
}

const commands = await commandsOf('operations.md')
const begins = (word: string) => commands.filter((line) => line.startsWith(`${word} `))
const ours = begins('avatar')
const restoring = ours.slice(ours.findIndex((line) => line.startsWith('avatar system restore')))
const running = ours.slice(0, -restoring.length)

let folder: string
let dataDir: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'avatar-operations-'))
  dataDir = join(folder, 'data')
  const program = `#!/usr/bin/env bash\nexec '${process.execPath}' '${avatar}' "\${@/#\\/backups/${folder}}"\n`
  await writeFile(join(folder, 'avatar'), program)
  await chmod(join(folder, 'avatar'), 0o755)
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** Runs a line as a shell would, with `avatar` on its path. */
async function run(line: string, env: Record<string, string>) {
  const given = { ...process.env, PATH: `${folder}:${process.env['PATH']}`, ...env }
  return promisify(execFile)('bash', ['-c', line], { env: given })
}

describe('docs/operations.md', () => {
  it('names only what some test runs', async () => {
    expect(running.length).toBeGreaterThan(10)
    expect(restoring.length).toBeGreaterThan(2)
    const release = await readFile(join(import.meta.dirname, 'release.test.ts'), 'utf8')
    for (const line of begins('.ci/deploy'))
      expect(release).toContain(`deployed(['${line.split(' ')[1]}', environment`)
    const known = ['avatar', '.ci/deploy', 'docker', 'kubectl', 'npx']
    for (const line of commands) expect(known).toContain(line.split(' ')[0])
  })

  it('names only parts that the compose files have', async () => {
    const files = ['control', 'store', 'workers', 'tools', 'edge']
    const texts = await Promise.all(
      files.map((name) => readFile(join(root, `deploy/compose/${name}.yml`), 'utf8')),
    )
    const named = begins('docker').flatMap((line) =>
      line
        .replace(/^docker (compose (stop|rm -f|up -d --wait)|volume rm)/, '')
        .replace('avatar_', '')
        .split(' ')
        .filter(Boolean),
    )
    expect(named.length).toBeGreaterThan(5)
    for (const name of named)
      expect(
        texts.some((text) => new RegExp(`^ {2}${name}:`, 'm').test(text)),
        name,
      ).toBe(true)
  })

  it('can be followed word by word on a real system, a lost disk included', async () => {
    const before = await startSystem({ dataDir, env: { WORKER_ID: 'w1', RELEASE: '1.1.0' } })
    const key = await before.createKey('customer')
    await before.createKey('alice')
    const [job = ''] = await submitMany(before.clientWith(key), 1)
    await before.clientWith(key).untilView(job, ({ status }) => status === 'completed')
    const env = { AVATAR_DATA_DIR: dataDir, TIMINGS_DIVISOR: '10' }
    for (const line of running) {
      // After a drain `avatar up` starts another one.
      if (line.includes('drain'))
        await until(
          async () => (await before.cli('workers', 'list', '--json')).stdout.includes('"w1"'),
          { what: 'the worker' },
        )
      await expect(run(line, env), line).resolves.toBeDefined()
    }
    expect(await before.stop()).toEqual([])

    await rm(join(dataDir, 'nats'), { recursive: true })
    const broker = await startBrokerAlone(dataDir)
    const [status, ...offline] = restoring.toReversed()
    const restored = (async () => {
      for (const line of offline.toReversed())
        await run(line, { ...broker.env, TIMINGS_DIVISOR: '10' })
    })()
    await restored.finally(broker.stop)
    const after = await startSystem({ dataDir })
    await run(status ?? 'false', env)
    expect((await createClient(after.url, key).result(job)).bytes).toBeGreaterThan(0)
    expect(await after.stop()).toEqual([])
  })
})
