import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { processNames } from '@avatar/contracts'
import { until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { avatar } from './cli-run.ts'
import { quick, type System, startSystem } from './system.ts'

let system: System
beforeAll(async () => {
  system = await startSystem()
})
afterAll(async () => {
  expect(await system.stop()).toBe(0)
})

describe('avatar up', () => {
  it('says once that it is ready, in plain text, and prefixes each line with the process', () => {
    const lines = system.up.stdout().trimEnd().split('\n')
    expect(lines.filter((line) => line.startsWith('avatar-api ready '))).toEqual([
      `avatar-api ready ${system.url}`,
    ])
    expect(system.up.stdout()).not.toContain('\u001b')
    for (const line of lines.filter((one) => !one.startsWith('avatar-api ready')))
      expect(line).toMatch(
        new RegExp(`^\\d\\d:\\d\\d:\\d\\d\\.\\d{3} (avatar|${processNames.join('|')}) +\\S`),
      )
  })

  it('writes a private stack.json that says where everything is, and nothing else', async () => {
    expect((await stat(join(system.data, 'stack.json'))).mode & 0o777).toBe(0o600)
    expect((await system.stackFile()).url).toBe(system.url)
  })

  it('tells a Prometheus what there is to scrape, on the ports that it has now', async () => {
    const text = await readFile(join(system.data, 'prometheus-targets.json'), 'utf8')
    const groups: { targets: string[]; labels: { job: string } }[] = JSON.parse(text)
    const { url, processes } = await system.stackFile()
    const wanted = (['ingest', 'orchestrator', 'janitor'] as const).map((name) => [
      name,
      `127.0.0.1:${processes[name].ports['metrics']}`,
    ])
    expect(groups.map(({ targets, labels }) => [labels.job, ...targets])).toEqual([
      ...wanted,
      ['probe', `${url.replace('http://', '')}/health`],
    ])
    for (const [, address] of wanted)
      expect((await fetch(`http://${address}/metrics`)).status).toBe(200)
  })

  it('passes its own environment on to every process', async () => {
    for (const { pid } of Object.values((await system.stackFile()).processes)) {
      const environment = (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0')
      for (const [name, value] of Object.entries(quick))
        expect(environment).toContain(`${name}=${value}`)
    }
  })

  it('refuses a second one on the same data, and says how to stop the first', async () => {
    const second = await avatar(['up', '--data', system.data], quick)
    expect(second).toMatchObject({ exitCode: 1, stdout: '' })
    expect(second.stderr).toContain(`already running on ${system.data} (process ${process.pid})`)
  })

  it('refuses a port that is taken', async () => {
    const second = await avatar(['up', '--data', join(system.folder, 'b')], {
      ...quick,
      HTTP_PORT: new URL(system.url).port,
    })
    expect(second.exitCode).toBe(1)
    expect(second.stderr).toMatch(/^avatar: Port \d+ is in use; give another: --port PORT\n$/)
  })

  it('refuses a port that browsers refuse to call', async () => {
    const refused = await avatar(
      ['up', '--data', join(system.folder, 'b'), '--port', '6000'],
      quick,
    )
    expect(refused).toMatchObject({ exitCode: 2, stdout: '' })
    expect(refused.stderr).toBe(
      'avatar: Browsers and fetch refuse to call port 6000; give another: --port PORT\n',
    )
  })

  it('ends with the message of services that refuse their configuration, last and readable', async () => {
    const refused = await avatar(['up', '--data', join(system.folder, 'c'), '--port', '0'], {
      ...quick,
      SIDECAR_ENGINE: 'no-such',
      JANITOR_LOG_LEVEL: 'loud',
      ORCHESTRATOR_LOG_LEVEL: 'loud',
    })
    expect(refused.exitCode).toBe(2)
    // A service that has only just started may die of SIGTERM before it listens for it.
    expect(refused.stdout).toMatch(/avatar +stopped(; not in order: .+)?\n$/)
    expect(refused.stdout).not.toContain('starting it again')
    expect(refused.stderr).toMatch(/cannot start\. The configuration is not valid:\n/)
    expect(refused.stderr).toMatch(/(LOG_LEVEL|ENGINE)/)
    expect(refused.stderr).toMatch(/\nCorrect it in .*\.env, then run `avatar up` again\.\n$/)
  })

  it('refuses waits that are not valid before it starts anything', async () => {
    const refused = await avatar(['up', '--data', join(system.folder, 'd')], {
      ...quick,
      TIMINGS_DIVISOR: 'ten',
    })
    expect(refused).toMatchObject({ exitCode: 2, stdout: '' })
    expect(refused.stderr).toContain('TIMINGS_DIVISOR')
  })

  it('restarts a process on the same ports, however often it is killed', async () => {
    const { ports } = (await system.stackFile()).processes.janitor
    for (let kill = 1; kill <= 4; kill++) {
      const { pid } = (await system.stackFile()).processes.janitor
      const killedAtMs = performance.now()
      process.kill(pid, 'SIGKILL')
      await until(async () => (await system.stackFile()).processes.janitor.pid !== pid, {
        what: `life after kill ${kill}`,
      })
      expect(performance.now() - killedAtMs).toBeLessThan(5_000)
    }
    expect((await system.stackFile()).processes.janitor.ports).toEqual(ports)
  })
})
