import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { until } from '@avatar/service-kit/testing'
import { expect, onTestFinished, test } from 'vitest'
import { takeLock } from './lock.mjs'
import { identityOf, isAlive, readIfThere } from './process-identity.mjs'

const scripts = resolve(import.meta.dirname, '..')

/**
 * A clone in which the real set-up runs until it is stopped: its npm starts a program that does not end, as
 * npm starts install scripts, and waits for it. There is no Python.
 */
async function aClone() {
  const root = await mkdtemp(join(tmpdir(), 'setup-lock-'))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  await cp(join(scripts, 'setup'), join(root, 'scripts/setup'), { recursive: true })
  await cp(join(scripts, 'setup.mjs'), join(root, 'scripts/setup.mjs'))
  await mkdir(join(root, 'inference-sidecar'))
  await writeFile(join(root, 'inference-sidecar/pyproject.toml'), '')
  await writeFile(join(root, 'inference-sidecar/requirements.lock'), '')
  await mkdir(join(root, 'bin'))
  await writeFile(
    join(root, 'bin/npm'),
    [
      '#!/bin/sh',
      'tail -f /dev/null &',
      'echo "$$ $!" > pids.new',
      'mv pids.new pids',
      'wait',
    ].join('\n'),
  )
  await chmod(join(root, 'bin/npm'), 0o755)
  return root
}

/** Starts the real set-up there; its PYTHON does not exist. */
function startSetup(root: string) {
  const child = spawn(process.execPath, [join(root, 'scripts/setup.mjs')], {
    env: {
      PATH: `${join(root, 'bin')}:${process.env['PATH']}`,
      PYTHON: join(root, 'bin/no-python'),
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr?.on('data', (chunk) => {
    said += chunk
  })
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
    await ended(child)
  })
  return Object.assign(child, { said: () => said })
}

async function ended(child: ChildProcess) {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  return child.exitCode ?? child.signalCode
}

/** npm and what it has started, once both run. */
async function programsIn(root: string) {
  const pids = await until(() => readFile(join(root, 'pids'), 'utf8').catch(() => undefined), {
    what: 'npm being started',
  })
  await rm(join(root, 'pids'))
  return pids.trim().split(' ').map(Number).map(identityOf)
}

const lockOf = (root: string) => readIfThere(join(root, '.setup.lock'))

test.each([
  ['SIGTERM', 143],
  ['SIGINT', 130],
  ['SIGHUP', 129],
] as const)(
  '%s ends npm with everything it started, and gives the lock back',
  async (signal, code) => {
    const root = await aClone()
    const setup = startSetup(root)
    const programs = await programsIn(root)
    expect(programs.map(isAlive)).toEqual([true, true])

    setup.kill(signal)
    expect(await ended(setup)).toBe(code)
    await until(() => !programs.some(isAlive), { what: 'the end of npm and its program' })
    expect(lockOf(root)).toBe('')
  },
)

test('a second set-up says that it waits, and starts nothing before the first has ended', async () => {
  const root = await aClone()
  const first = startSetup(root)
  const programs = await programsIn(root)
  const second = startSetup(root)
  await until(() => second.said().includes(`(process ${first.pid}); waiting for it.`))
  expect(second.said()).not.toContain('Installing')
  expect(lockOf(root)).toMatch(new RegExp(`^${first.pid} `))

  first.kill('SIGTERM')
  const later = await programsIn(root)
  expect(later.map(isAlive)).toEqual([true, true])
  await until(() => !programs.some(isAlive), { what: 'the end of the first npm and its program' })
  expect(lockOf(root)).toMatch(new RegExp(`^${second.pid} `))
})

test('the next set-up ends what one that was killed has left running, and takes its lock', async () => {
  const root = await aClone()
  const killed = startSetup(root)
  const orphans = await programsIn(root)
  // The program may run before the set-up has noted it.
  await until(
    () =>
      lockOf(root)
        .split('\n')
        .includes(orphans[0] ?? ''),
    { what: 'its note' },
  )
  killed.kill('SIGKILL')
  expect(await ended(killed)).toBe('SIGKILL')
  expect(orphans.map(isAlive)).toEqual([true, true])

  const next = startSetup(root)
  const programs = await programsIn(root)
  expect(orphans.map(isAlive)).toEqual([false, false])
  expect(programs.map(isAlive)).toEqual([true, true])
  expect(next.said()).not.toContain('waiting')
})

test('a lock whose holder is dead does not count when another process has the same number', async () => {
  const root = await mkdtemp(join(tmpdir(), 'setup-lock-'))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  // Both numbers are this process's, which must neither be waited for nor ended.
  await writeFile(join(root, '.setup.lock'), `${process.pid} 1\n${process.pid} 1\n`)
  const waitedFor: number[] = []
  const lock = await takeLock(root, (pid) => waitedFor.push(pid))
  expect(waitedFor).toEqual([])
  expect(lockOf(root)).toBe(`${identityOf(process.pid)}\n`)
  lock.release()
  expect(lockOf(root)).toBe('')
})

test('giving the lock back twice leaves the lock of the next holder alone', async () => {
  const root = await mkdtemp(join(tmpdir(), 'setup-lock-'))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  const lock = await takeLock(root, () => {})
  lock.release()
  const next = `${identityOf(process.ppid)}\n`
  await writeFile(join(root, '.setup.lock'), next)
  lock.release()
  expect(lockOf(root)).toBe(next)
})
