import { systemClock } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { afterEach, expect, it } from 'vitest'
import type { Program } from '../src/stack/programs.ts'
import { type SupervisedProcess, superviseProcess } from '../src/stack/supervised-process.ts'

const started: SupervisedProcess[] = []
afterEach(async () => {
  for (const one of started.splice(0)) one.kill()
})

function supervise(script: string, difference: Partial<Program> = {}) {
  const seen = { lines: [] as string[], pids: [] as number[], ends: [] as string[] }
  const supervised = superviseProcess(
    {
      name: 'janitor',
      command: process.execPath,
      args: ['-e', script],
      env: {},
      cwd: '/',
      ports: {},
      ...difference,
    },
    {
      clock: systemClock,
      onLine: (line) => seen.lines.push(line),
      onStart: (pid) => seen.pids.push(pid),
      onEnd: (how) => seen.ends.push(how),
    },
  )
  started.push(supervised)
  supervised.start()
  return { ...seen, supervised }
}

const lives = (pid: number) => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

it('passes on the lines of both outputs, and starts again what ends by itself', async () => {
  const { lines, pids, ends, supervised } = supervise(
    'console.log("out"); console.error("err"); process.exitCode = 3',
  )
  await until(() => pids.length >= 3, { what: 'three starts' })
  await supervised.stop(1_000)
  expect(new Set(lines)).toEqual(new Set(['out', 'err']))
  expect(ends[0]).toBe('ended with code 3')
})

it('tries again what cannot be started at all', async () => {
  const { pids, ends } = supervise('', { command: '/nowhere/program' })
  await until(() => ends.length >= 2, { what: 'two failures' })
  expect(ends[0]).toContain('could not be started')
  expect(pids).toEqual([])
})

it('stops by SIGTERM, and does not start again', async () => {
  const { pids, ends, supervised, lines } = supervise(
    'setInterval(() => {}, 1e6); console.log("up")',
  )
  await until(() => lines.length > 0)
  await supervised.stop(10_000)
  await supervised.stop(10_000)
  expect(ends).toEqual(['was ended by SIGTERM'])
  expect(lives(pids[0] ?? 0)).toBe(false)
})

it('kills what does not end in time, its children too', async () => {
  const { lines, supervised, ends } = supervise(`
    process.on('SIGTERM', () => {})
    const child = require('node:child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)'])
    console.log(child.pid)
    setInterval(() => {}, 1e6)`)
  await until(() => lines.length > 0)
  await supervised.stop(100)
  expect(ends).toEqual(['was ended by SIGKILL'])
  await until(() => !lives(Number(lines[0])), { what: 'the end of the child' })
})

it('is fine with a stop before the start', async () => {
  const { pids, supervised } = supervise('')
  await supervised.stop(100)
  const count = pids.length
  supervised.start()
  expect(pids.length).toBe(count)
})
