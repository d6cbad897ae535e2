import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { ChosenExtras } from './chosen-extras.mjs'

const setup = resolve(import.meta.dirname, '../setup.mjs')

function anEmptyClone(): string {
  const root = mkdtempSync(join(tmpdir(), 'setup-'))
  onTestFinished(() => rmSync(root, { recursive: true, force: true }))
  return root
}

test('remembers the optional parts of all runs, sorted', () => {
  const root = anEmptyClone()
  expect(new ChosenExtras(root).names()).toEqual([])
  new ChosenExtras(root).add(['reference'])
  new ChosenExtras(root).add(['engine', 'reference'])
  new ChosenExtras(root).add([])
  expect(new ChosenExtras(root).names()).toEqual(['engine', 'reference'])
  expect(readFileSync(join(root, '.setup.with'), 'utf8')).toBe('engine\nreference\n')
})

test.each([
  [['--with', 'torch']],
  [['--with=engine,torch']],
  [['--with', 'engine', '--with', 'torch']],
  [['--with']],
])('refuses an unknown part (%j) and lists the known ones', (args) => {
  const ended = spawnSync(process.execPath, [setup, ...args], { encoding: 'utf8' })
  expect(ended.status).toBe(1)
  expect(ended.stderr).toContain('There is no optional part')
  expect(ended.stderr).toContain(
    'Optional parts: engine, kernels, reference, runpod, deploy, monitoring.',
  )
})
