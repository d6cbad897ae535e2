import { itKeepsTheRunnableContract, until } from '@avatar/service-kit/testing'
import { afterEach, describe, expect, it } from 'vitest'
import type { Program } from '../src/stack/programs.ts'
import { type SupervisedProcess, superviseProcess } from '../src/stack/supervised-process.ts'

const supervised: SupervisedProcess[] = []
afterEach(async () => {
  for (const one of supervised.splice(0)) one.kill()
})

function supervise(script: string, difference: Partial<Program> = {}) {
  const seen = {
    ...{ lines: [] as string[], pids: [] as number[] },
    ...{ ends: [] as string[], pausesMs: [] as number[], refusals: [] as string[] },
  }
  const process_ = superviseProcess(
    {
      ...{ command: process.execPath, args: ['-e', script], env: {}, cwd: '/', graceMs: 10_000 },
      ...difference,
    },
    {
      onLine: (line) => seen.lines.push(line),
      onStart: (pid) => seen.pids.push(pid),
      onEnd: (how, pauseMs) => {
        seen.ends.push(how)
        seen.pausesMs.push(pauseMs)
      },
      onRefusal: (explanation) => seen.refusals.push(explanation),
    },
  )
  supervised.push(process_)
  return { ...seen, supervised: process_ }
}

const lives = (pid: number) => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

const idle = 'setInterval(() => {}, 1e6); console.log("up")'
const deafToSigterm = `process.on('SIGTERM', () => {}); ${idle}`

describe('a supervised process', () => {
  itKeepsTheRunnableContract(() => {
    const { supervised: runnable, pids } = supervise(idle)
    return { runnable, atWork: () => pids.filter(lives).length }
  })

  it('passes on the lines of both outputs, and is started again when it ends by itself', async () => {
    const {
      lines,
      pids,
      ends,
      supervised: it,
    } = supervise('console.log("out"); console.error("err"); process.exitCode = 3')
    await it.start()
    await until(() => pids.length >= 3, { what: 'three starts' })
    await it.stop()
    expect(new Set(lines)).toEqual(new Set(['out', 'err']))
    expect(ends[0]).toBe('ended with code 3')
  })

  it('is back within a second whenever somebody ends it, however it answers SIGTERM', async () => {
    for (const script of [idle, `process.on('SIGTERM', () => process.exit(0)); ${idle}`]) {
      const { lines, pids, pausesMs, supervised: it } = supervise(script)
      await it.start()
      for (const count of [1, 2, 3]) {
        await until(() => lines.length === count, { what: `line ${count}` })
        process.kill(pids.at(-1) ?? 0, 'SIGTERM')
      }
      await until(() => pausesMs.length === 3, { what: 'three ends' })
      expect(Math.max(...pausesMs)).toBeLessThan(1_000)
      await it.stop()
    }
  })

  it('is restarted on request, by force when it does not end in time', async () => {
    for (const script of [idle, deafToSigterm]) {
      const { lines, pids, supervised: it } = supervise(script, { graceMs: 200 })
      await it.start()
      for (const count of [1, 2]) {
        await until(() => lines.length === count, { what: `line ${count}` })
        if (count === 1) it.restart()
      }
      expect(pids.filter(lives)).toEqual([pids[1]])
      await it.stop()
    }
  })

  it('is tried again when it cannot be started at all', async () => {
    const { pids, ends, supervised: it } = supervise('', { command: '/nowhere/program' })
    await it.start()
    await until(() => ends.length >= 2, { what: 'two failures' })
    expect(ends[0]).toContain('could not be started')
    expect(pids).toEqual([])
  })

  it('is not started again once it refuses its configuration, and says why', async () => {
    const script = `console.log("a log line")
      console.error("The configuration is not valid:\\n  LOG_LEVEL: loud")
      process.exitCode = 2`
    const refusing = supervise(script, { refusalCode: 2 })
    const another = supervise(script)
    for (const { supervised: it } of [refusing, another]) await it.start()
    await until(() => refusing.refusals.length > 0 && another.pids.length > 1, {
      what: 'a refusal, and a second start of the program for which 2 means something else',
    })
    expect(refusing.refusals).toEqual(['The configuration is not valid:\n  LOG_LEVEL: loud'])
    expect([refusing.pids.length, refusing.ends]).toEqual([1, []])
    expect(another.refusals).toEqual([])
    for (const { supervised: it } of [refusing, another]) await it.stop()
  })

  it('is stopped by SIGTERM and not started again', async () => {
    const { pids, ends, supervised: it, lines } = supervise(idle)
    await it.start()
    await until(() => lines.length > 0)
    await it.stop()
    expect(ends).toEqual(['was ended by SIGTERM'])
    expect(lives(pids[0] ?? 0)).toBe(false)
    expect(it.stoppedBadly()).toBe(false)
  })

  it('is killed with its children when it does not end in time, which is reported', async () => {
    const {
      lines,
      supervised: it,
      ends,
    } = supervise(
      `const child = require('node:child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)'])
      console.log(child.pid)
      ${deafToSigterm}`,
      { graceMs: 100 },
    )
    await it.start()
    await until(() => lines.length > 1)
    await it.stop()
    expect(ends).toEqual(['was ended by SIGKILL'])
    expect(it.stoppedBadly()).toBe(true)
    await until(() => !lives(Number(lines[0])), { what: 'the end of the child' })
  })

  it('reports a stop that its program says has failed, but not an earlier crash', async () => {
    const { lines, supervised: it } = supervise(
      `process.on('SIGTERM', () => process.exit(1)); ${idle}`,
    )
    await it.start()
    await until(() => lines.length > 0)
    expect(it.stoppedBadly()).toBe(false)
    await it.stop()
    expect(it.stoppedBadly()).toBe(true)
  })

  it('is killed at once, even in the middle of a stop', async () => {
    const { lines, ends, supervised: it } = supervise(deafToSigterm)
    await it.start()
    await until(() => lines.length > 0)
    const stopped = it.stop()
    it.kill()
    await stopped
    expect(ends).toEqual(['was ended by SIGKILL'])
  })
})
