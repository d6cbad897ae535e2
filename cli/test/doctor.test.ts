import { chmod, mkdir, writeFile } from 'node:fs/promises'
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

describe('avatar status and doctor', () => {
  it('show what runs where, and which services are ready', async () => {
    const { processes } = await system.stackFile()
    const told = JSON.parse((await system.here('status', '--json')).stdout)
    expect(told).toMatchObject({ url: system.url, processes, health: { status: 'ok' } })
    expect(Object.keys(told.ready)).toEqual(['ingest', 'orchestrator', 'janitor'])
    // On a busy machine one of them misses its second now and then.
    const allReady = async () => {
      const { ready } = JSON.parse((await system.here('status', '--json')).stdout)
      return Object.values(ready).every((isReady) => isReady === true)
    }
    await until(allReady, { what: 'three services that are ready' })
    expect((await system.here('status')).stdout).toContain(String(processes.sidecar.pid))
    expect((await avatar(['status', '--json'], { AVATAR_URL: system.url })).exitCode).toBe(0)
    const away = await avatar(['status'], { AVATAR_URL: 'http://127.0.0.1:9' })
    expect(away.exitCode).toBe(6)
  })

  it('find nothing wrong with a healthy system', async () => {
    const seen = await system.here('doctor', '--json')
    const { ok, findings } = JSON.parse(seen.stdout)
    expect(findings.filter((one: { isGood: boolean }) => !one.isGood)).toEqual([])
    expect(ok).toBe(true)
    expect(findings.map((one: { name: string }) => one.name)).toEqual([
      'Node',
      'NATS server',
      'S3 server',
      'Python',
      'sidecar',
      'ffmpeg',
      'environment',
      'clock',
      'disk',
      'permissions',
      'supervisor',
      'processes',
      'durability',
      'store',
      'readiness',
      'broker',
      'broker disk',
      'keys',
      'API',
      'worker',
      'clock of the API',
      'clocks',
    ])
  })

  it('print the command that repairs each fault', async () => {
    await chmod(join(system.data, 'credentials.json'), 0o644)
    const wrong = { VIDEO_RETENTION_HOURS: 'six', FFMPEG_PATH: '/nowhere/ffmpeg' }
    const seen = await avatar(['doctor', '--data', system.data], wrong)
    await chmod(join(system.data, 'credentials.json'), 0o600)
    expect(seen.exitCode).toBe(1)
    expect(seen.stdout).toContain(`→ chmod go-rwx ${join(system.data, 'credentials.json')}`)
    expect(seen.stdout).toMatch(/BAD {2}environment: .*VIDEO_RETENTION_HOURS/)
    expect(seen.stdout).toMatch(
      /BAD {2}ffmpeg: \/nowhere\/ffmpeg is missing\n {5}→ unset FFMPEG_PATH/,
    )
    const port = await avatar(['doctor', '--data', system.data], { HTTP_PORT: '99999' })
    expect(port.stdout).toContain('BAD  environment: HTTP_PORT is no port: 99999')
  })

  it('notice a store, a broker and an API that do not answer', async () => {
    const dead = join(system.folder, 'dead')
    const stack = await system.stackFile()
    await mkdir(dead, { mode: 0o700 })
    const away = JSON.stringify({
      ...stack,
      url: 'http://127.0.0.1:9',
      processes: { ...stack.processes, nats: { pid: 2 ** 22 + 1, ports: {} } },
      s3: { ...stack.s3, endpoint: 'http://127.0.0.1:9' },
      nats: { url: 'nats://operator:x@127.0.0.1:9', monitor: 'http://127.0.0.1:9' },
    })
    await writeFile(join(dead, 'stack.json'), away, { mode: 0o600 })
    const { findings } = JSON.parse((await avatar(['doctor', '--json', '--data', dead])).stdout)
    const bad = findings.filter((one: { isGood: boolean }) => !one.isGood)
    expect(bad.map((one: { name: string }) => one.name)).toEqual([
      'supervisor',
      'processes',
      'durability',
      'store',
      'broker',
      'keys',
      'API',
      'worker',
    ])
    for (const { repair } of bad) expect(repair).toMatch(/avatar up/)
  })

  it('notice a store that hangs, and print the command that restarts it', async () => {
    const { s3 } = (await system.stackFile()).processes
    process.kill(s3.pid, 'SIGSTOP')
    const seen = await system
      .here('doctor', '--json')
      .finally(() => process.kill(s3.pid, 'SIGCONT'))
    const { findings } = JSON.parse(seen.stdout)
    const store = findings.find((one: { name: string }) => one.name === 'store')
    expect(store).toMatchObject({
      isGood: false,
      repair: expect.stringMatching(`^kill -9 ${s3.pid} `),
    })
    const readiness = findings.find((one: { name: string }) => one.name === 'readiness')
    expect(readiness.seen).toMatch(/ingest not ready: .*; orchestrator not ready: .*; janitor not/)
  })

  it('check a system by its address, and a folder where none runs', async () => {
    const remote = JSON.parse(
      (await avatar(['doctor', '--json'], { AVATAR_URL: system.url })).stdout,
    )
    expect(remote.ok).toBe(true)
    const none = await avatar(['doctor', '--data', join(system.folder, 'none')])
    expect(none.exitCode).toBe(0)
    expect(none.stdout).toContain(`npx avatar up --data ${join(system.folder, 'none')}`)
  })
})

describe('the command line', () => {
  it('refuses unknown commands and invalid options', async () => {
    expect(await avatar(['--help'])).toMatchObject({ exitCode: 0, stderr: '' })
    expect((await avatar(['generate', '--help'])).stdout).toContain('Exit codes:')
    expect((await avatar(['frobnicate'])).exitCode).toBe(2)
    expect((await avatar(['up', '--port', 'x'])).exitCode).toBe(2)
    expect((await avatar(['keys', 'rotate', 'x', '--grace-hours', '-1'])).exitCode).toBe(2)
  })
})
