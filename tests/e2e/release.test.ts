import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { type Release, releaseSchema } from '@avatar/contracts'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type System, startSystem, writeFakeDocker } from '../harness/index.ts'

const deploy = resolve(import.meta.dirname, '../../.ci/deploy')

const releaseOf = (release: string): Release => {
  const image = (name: string) =>
    `registry.example/${name}@sha256:${Buffer.from(release).toString('hex').padEnd(64, '0')}`
  return releaseSchema.parse({
    ...{ release, schema: 1, contracts: 1 },
    images: { services: image('api'), preview: image('preview'), gpu: image('gpu') },
  })
}
const one = releaseOf('1.0.0')
const two = releaseOf('1.1.0')

let folder: string
let system: System
let docker: Awaited<ReturnType<typeof writeFakeDocker>>
let environment: string
const settings = () => readFile(join(folder, 'compose.env'), 'utf8')

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'avatar-release-'))
  await mkdir(join(folder, 'backups'))
  await writeFile(join(folder, 'compose.env'), 'DOMAIN=example.com\n')
  docker = await writeFakeDocker(folder, join(folder, 'backups'))
  // The packages are there, and `gh` has the releases of the folder.
  await writeProgram('npm', 'exit 0')
  await writeProgram('gh', `cp '${folder}'/"$3".json "$7"/release.json`)
  for (const release of [one, two])
    await writeFile(join(folder, `v${release.release}.json`), JSON.stringify(release))
  system = await startSystem({ env: { RELEASE: '1.0.0', WORKER_ID: 'w1' } })
  environment = join(folder, 'environment.json')
  await writeFile(
    environment,
    JSON.stringify({
      platform: {
        kind: 'compose',
        settings: join(folder, 'compose.env'),
        backups: join(folder, 'backups'),
      },
      ...{ workers: 'preview', url: system.url, signedBy: null },
    }),
  )
})

afterAll(async () => {
  expect(await system.stop()).toEqual([])
  await rm(folder, { recursive: true, force: true })
})

async function writeProgram(name: string, line: string) {
  await writeFile(join(folder, name), `#!/bin/sh\n${line}\n`)
  await chmod(join(folder, name), 0o755)
}

/** Runs `.ci/deploy` on the system, with Docker's part played by a script. */
async function deployed(words: readonly string[], env: Record<string, string> = {}) {
  const { nats } = await system.stack()
  const path = `${folder}:${dirname(process.execPath)}:${process.env['PATH']}`
  const given = { NATS_URL: nats.url, TIMINGS_DIVISOR: '10', PATH: path, ...env }
  return promisify(execFile)(deploy, [...words], { env: { ...process.env, ...given } }).then(
    ({ stderr }) => ({ exitCode: 0, stderr }),
    ({ code, stderr }) => ({ exitCode: Number(code), stderr: String(stderr) }),
  )
}

async function noted() {
  const { stdout } = await system.cli('system', 'release')
  return stdout
}

it('installs releases on a real system, undoes one that fails, and rolls back', async () => {
  await system.cli('system', 'release', '--note', JSON.stringify(one))
  const failed = await deployed(['apply', environment, 'v1.1.0'], { FAKE_DOCKER_FAILS: 'ingest' })
  expect(failed.exitCode).toBe(1)
  expect(failed.stderr).toMatch(/control plane failed: docker .* ended with 1: unhealthy/)
  expect(await settings()).toContain(`SERVICES_IMAGE=${one.images.services}\n`)
  expect(await noted()).toBe('1.0.0 is installed.\n')

  const { pid } = (await system.stack()).processes.sidecar
  const applied = await deployed(['apply', environment, 'v1.1.0'])
  expect(applied.stderr).toMatch(/7\.\d+ s of video/)
  expect(applied.exitCode).toBe(0)
  expect(await noted()).toBe('1.1.0 is installed, before it 1.0.0.\n')
  expect(await settings()).toBe(
    `DOMAIN=example.com\nSERVICES_IMAGE=${two.images.services}\nPREVIEW_IMAGE=${two.images.preview}\nGPU_IMAGE=${two.images.gpu}\n`,
  )
  // It was told to leave, and `avatar up` has started another.
  expect((await system.stack()).processes.sidecar.pid).not.toBe(pid)

  const back = await deployed(['rollback', environment])
  expect(back).toMatchObject({ exitCode: 0 })
  expect(await noted()).toBe('1.0.0 is installed, after 1.1.0 was given up.\n')
  expect(await settings()).toContain(`SERVICES_IMAGE=${one.images.services}\n`)

  // One backup for each apply; none of the smoke jobs' keys still works.
  expect(await readdir(join(folder, 'backups'))).toHaveLength(2)
  const { keys } = JSON.parse((await system.cli('keys', 'list', '--json')).stdout)
  const smoke = keys.filter(({ name }: { name: string }) => name === 'release-smoke')
  expect(smoke).toHaveLength(2)
  for (const key of smoke) expect(key.revoked_at).not.toBeNull()
  expect((await docker.calls()).filter((call) => call.includes(' up -d '))).toContain(
    `compose -f ${resolve(import.meta.dirname, '../../docker-compose.yml')} --env-file ${folder}/compose.env --profile preview up -d --wait --no-deps --no-build sidecar`,
  )
})

it('says how it is used', async () => {
  expect(await deployed(['apply', environment])).toMatchObject({ exitCode: 1 })
  expect((await deployed(['install', environment, 'v1.0.0'])).exitCode).toBe(2)
})
