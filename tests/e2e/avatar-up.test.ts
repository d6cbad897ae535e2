import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitoredServices } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { processesOf, type System, startSystem } from '../harness/index.ts'

describe('avatar up', () => {
  let system: System
  let dataDir: string
  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'avatar-up-'))
    system = await startSystem({ dataDir })
  })
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
    await rm(dataDir, { recursive: true, force: true })
  })

  it('writes a private stack.json that says where everything is', async () => {
    const path = join(dataDir, 'stack.json')
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    const stack = await system.stack()
    expect(stack.url).toBe(system.url)
    expect((await fetch(`${stack.nats.monitor}/healthz`)).status).toBe(200)
    expect((await fetch(`${stack.s3.endpoint}/healthz`)).status).toBe(200)
    for (const service of monitoredServices) {
      const port = stack.processes[service].ports['metrics']
      expect(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()).toContain('# ')
    }
  })

  it.runIf(process.platform === 'linux')('gives the sidecar no key of the store', async () => {
    const { processes, s3 } = await system.stack()
    const secretIsIn = async (name: 'ingest' | 'sidecar') =>
      (await readFile(`/proc/${processes[name].pid}/environ`, 'utf8')).includes(
        s3.secret_access_key,
      )
    expect([await secretIsIn('ingest'), await secretIsIn('sidecar')]).toEqual([true, false])
  })

  it('refuses to run twice on the same data', async () => {
    await expect(system.cli('up')).rejects.toMatchObject({
      stderr: expect.stringContaining('already running'),
    })
  })

  it('writes plain text when its output is not a terminal', () => {
    expect(system.lines.join('\n')).not.toContain('\u001b')
  })

  it('restarts a killed process at once on the same ports', async () => {
    const before = (await system.stack()).processes.janitor
    const killedAt = performance.now()
    await system.kill('janitor')
    expect(performance.now() - killedAt).toBeLessThan(3_000)
    expect((await system.stack()).processes.janitor.ports).toEqual(before.ports)
  })

  it('finds and stops what a killed supervisor left running', async () => {
    const orphans = processesOf(dataDir)
    system.signalSupervisor('SIGKILL')
    const credentials = await readFile(join(dataDir, 'credentials.json'), 'utf8')
    // Started by npx: only npm's process gets the signal to stop, and must pass it on.
    system = await startSystem({ dataDir, avatar: ['npx', 'avatar'] })
    expect(await readFile(join(dataDir, 'credentials.json'), 'utf8')).toBe(credentials)
    expect(processesOf(dataDir).filter((pid) => orphans.includes(pid))).toEqual([])
  })
})
