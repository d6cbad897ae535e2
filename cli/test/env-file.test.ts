import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { dataFolder } from '../src/stack/data-folder.ts'
import { readStackFile } from '../src/stack/stack-file.ts'
import { avatar, launch, readyUrl } from './cli-run.ts'
import { quick } from './system.ts'

let folder: string
let envFile: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'avatar-env-'))
  envFile = join(folder, '.env')
})
afterEach(async () => {
  await rm(folder, { recursive: true, force: true })
})

describe('.env', () => {
  it('is read by avatar up; the given environment wins, and each service gets one of NAME and NAME_FILE', async () => {
    const secretFile = join(folder, 'secret')
    await writeFile(secretFile, 'not-what-the-stack-uses')
    await writeFile(
      envFile,
      `# A comment.
ENGINE=infinitetalk
export PRESIGNED_URL_TTL_SECONDS = "1234"
JANITOR_VIDEO_RETENTION_HOURS=2
NATS_PASSWORD_FILE=${secretFile}
R2_SECRET_ACCESS_KEY_FILE=${secretFile}
SEVERAL_LINES="one
two three"
`,
    )
    const data = join(folder, 'data')
    const up = launch(['up', '--data', data, '--port', '0'], quick, envFile)
    await readyUrl(up)
    const { processes } = (await readStackFile(dataFolder(data))) ?? {}
    const environmentOf = async (pid = 0) => {
      const lines = (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0')
      return Object.fromEntries(lines.map((line) => line.split(/=(.*)/s)))
    }
    const orchestrator = await environmentOf(processes?.orchestrator.pid)
    expect(orchestrator).toMatchObject({
      ENGINE: 'null',
      PRESIGNED_URL_TTL_SECONDS: '1234',
      SEVERAL_LINES: 'one\ntwo three',
    })
    expect(orchestrator).not.toHaveProperty('NATS_PASSWORD_FILE')
    expect(orchestrator).not.toHaveProperty('R2_SECRET_ACCESS_KEY_FILE')
    expect(orchestrator).not.toHaveProperty('VIDEO_RETENTION_HOURS')
    expect(await environmentOf(processes?.janitor.pid)).toHaveProperty('VIDEO_RETENTION_HOURS', '2')
    up.signal('SIGINT')
    expect(await up.exitCode, up.stderr()).toBe(0)
  })

  it.each(['up', 'demo', 'doctor'])(
    'is named by avatar %s when a line is wrong',
    async (command) => {
      await writeFile(envFile, 'GOOD="1\n2"\n\n# fine = "too\nnot an assignment\n')
      const run = launch([command, '--data', join(folder, 'data')], quick, envFile)
      expect(await run.exitCode).toBe(2)
      expect(run.stderr()).toBe(`avatar: ${envFile}, line 5: expected NAME=value\n`)
    },
  )

  it('is named when it cannot be read', async () => {
    await mkdir(envFile)
    const run = launch(['up', '--data', join(folder, 'data')], quick, envFile)
    expect(await run.exitCode).toBe(2)
    expect(run.stderr()).toContain(`${envFile} cannot be read`)
  })

  it('is checked by avatar doctor like the environment', async () => {
    await writeFile(envFile, 'VIDEO_RETENTION_HOURS=six\n')
    const run = launch(['doctor', '--data', join(folder, 'data')], {}, envFile)
    expect(await run.exitCode).toBe(1)
    expect(run.stdout()).toMatch(/BAD {2}environment: .*VIDEO_RETENTION_HOURS/)
  })

  it('may be a copy of .env.example', async () => {
    const example = resolve(import.meta.dirname, '../../.env.example')
    const run = launch(['doctor', '--data', join(folder, 'data')], {}, example)
    expect(await run.exitCode).toBe(0)
  })

  it('may be missing', async () => {
    const none = await avatar(['doctor', '--data', join(folder, 'data')], quick)
    expect(none.exitCode).toBe(0)
  })
})
