import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { monitoringPrograms, monitoringTools } from './monitoring-tools.mjs'

function aFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'setup-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A PATH with these programs alone. */
function onlyOnPath(programs: readonly string[]) {
  const folder = aFolder()
  for (const name of programs) {
    writeFileSync(join(folder, name), '')
    chmodSync(join(folder, name), 0o755)
  }
  vi.stubEnv('PATH', folder)
  onTestFinished(() => {
    vi.unstubAllEnvs()
  })
}

test('programs that are all on PATH are used as they are, by either of their names', () => {
  onlyOnPath(['prometheus', 'promtool', 'prometheus-alertmanager', 'amtool', 'blackbox_exporter'])
  expect(monitoringTools(aFolder()).isInPlace()).toBe(true)
  onlyOnPath(monitoringPrograms.slice(1))
  expect(monitoringTools(aFolder()).isInPlace()).toBe(false)
})

test("a machine without Debian's tools is told how to get the programs", async () => {
  onlyOnPath([])
  const part = monitoringTools(aFolder())
  await expect(part.install(async () => undefined)).rejects.toMatchObject({
    name: 'SetupError',
    remedy: expect.stringContaining('Put prometheus, promtool, alertmanager, amtool'),
  })
})
