import { execFile } from 'node:child_process'
import { readFile, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type System, startSystem } from '../harness/index.ts'

const run = promisify(execFile)
const root = resolve(import.meta.dirname, '../..')
const film = join(root, 'out/film.mp4')

let system: System
beforeAll(async () => {
  system = await startSystem()
})
afterAll(async () => {
  expect(await system.stop()).toEqual([])
  await rm(film, { force: true })
})

it('the ten lines of the README run as printed', async () => {
  const readme = await readFile(join(root, 'README.md'), 'utf8')
  const lines = /## The API in ten lines.*?```sh\n(.*?)```/s.exec(readme)?.[1] ?? ''
  expect(lines.trimEnd().split('\n')).toHaveLength(10)
  const env = {
    ...process.env,
    URL: system.url,
    AVATAR_DATA_DIR: system.dataDir,
    // This Node comes first, as under npm.
    PATH: `${dirname(process.execPath)}:${process.env['PATH']}`,
  }
  const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', lines], { cwd: root, env })
  expect(stdout).toContain('event: completed')
  expect(stdout).toContain('"next_cursor":')
  expect(stdout).toContain('"code":"JOB_ALREADY_FINISHED"')
  expect(stdout).toMatch(/"nats":"ok","storage":"ok"/)
  expect((await readFile(film)).subarray(4, 8).toString()).toBe('ftyp')
})
