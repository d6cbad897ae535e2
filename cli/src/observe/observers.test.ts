import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { findObservers } from './observers.ts'

function aFolderWith(...programs: string[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'observers-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  mkdirSync(join(folder, 'bin'))
  for (const name of programs) {
    writeFileSync(join(folder, 'bin', name), '')
    chmodSync(join(folder, 'bin', name), 0o755)
  }
  return folder
}

it('what set-up has fetched comes before PATH, and starts where its pages are', () => {
  const fetched = aFolderWith('prometheus', 'alertmanager')
  const onPath = aFolderWith('prometheus', 'prometheus-alertmanager', 'blackbox_exporter')
  const found = findObservers(join(onPath, 'bin'), fetched)
  expect(found?.prometheus).toEqual({ command: join(fetched, 'bin/prometheus'), cwd: fetched })
  expect(found?.blackbox?.command).toBe(join(onPath, 'bin/blackbox_exporter'))
})

it('programs on PATH may have the names that Debian gives them', () => {
  const onPath = aFolderWith('prometheus', 'prometheus-alertmanager')
  const found = findObservers(`/nowhere:${join(onPath, 'bin')}`, aFolderWith())
  expect(found?.alertmanager?.command).toBe(join(onPath, 'bin/prometheus-alertmanager'))
  expect(found?.blackbox, 'nobody probes then').toBeUndefined()
})

it('without Prometheus or Alertmanager there is nothing to start', () => {
  expect(findObservers(join(aFolderWith('prometheus'), 'bin'), aFolderWith())).toBeUndefined()
  expect(findObservers(undefined, aFolderWith('alertmanager'))).toBeUndefined()
})
