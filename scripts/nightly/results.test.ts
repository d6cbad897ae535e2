import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { commandOf, nightlyParts, partsOf, type Size, withChanges } from './promises.ts'
import { figureOf, noteResult, type Result, readResults } from './results.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'avatar-nightly-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const result = (id: string, figure = 'x', size: Size = 'night'): Result => ({
  ...{ id, size, figure, outcome: 'kept', command: 'c', date: '2026-11-29', commit: 'abc' },
})

it('keeps one result of each part and size, in the order of their numbers', async () => {
  const path = join(folder, 'results.json')
  expect(await readResults(path)).toEqual([])
  const small = result('R2', 'x', 'small')
  for (const one of [result('R10'), small, result('R2'), result('R10', 'later')])
    await noteResult(path, one)
  expect(await readResults(path)).toEqual([result('R2'), small, result('R10', 'later')])
})

describe('the figure of a part', () => {
  it('of chaos is what was accepted, and how much was violated', () => {
    const output =
      '    PROMISE  CHECKED  VIOLATIONS\nI1  every job ends  21  0\nI2  one event  21  2\n\n' +
      '40 faults, 12 accepted: 7 completed; at rest 18.8 s after the last fault\nseed 1; again with: avatar\n'
    expect(figureOf(output)).toBe(
      '40 faults, 12 accepted: 7 completed; at rest 18.8 s after the last fault; 2 violations of 2 invariants; seed 1',
    )
  })

  it('of tests is how many passed', () => {
    const start = String.fromCharCode(27)
    const told = (counts: string) => figureOf(`${start}[2m      Tests ${start}[22m ${counts}\n`)
    expect(told('5 passed (5)')).toBe('tests: 5 passed')
    expect(told('1 failed | 4 passed | 8 skipped (13)')).toBe('tests: 1 failed, 4 passed')
    expect(figureOf('...\n36 passed in 54.10s\n')).toBe('36 passed in 54.10s')
  })

  it('of a test that says so itself is what it says', () => {
    const line = '300 cases, {"201":63}, memory grew by 61 MB'
    expect(figureOf(`media fuzz: FUZZ_SEED=1\nmedia fuzz: ${line}\n Tests 1 passed (1)\n`)).toBe(
      line,
    )
  })

  it('of the simulation is what it lived through', () => {
    const line = '20000 steps in 60 lives, 300 jobs, 0 violations; seed 7'
    expect(figureOf(`seed 7\n${line}\n`)).toBe(line)
  })

  it('of the load is how its aims were met', () => {
    const line = '100 jobs of 20 keys, 50 submitted a second: POST p95 71.5 ms (≤ 150 ms)'
    expect(figureOf(`| POST, median | 18.2 ms |\n\n${line}\n`)).toBe(line)
  })
})

it('a first look changes how long faults happen, and nothing else', () => {
  const commands = nightlyParts.map((part) => commandOf(withChanges(part, 0.5, {})))
  const changed = nightlyParts.filter((part, at) => commandOf(part) !== commands[at])
  expect(changed.map(({ id }) => id)).toEqual(['R1', 'R3', 'R4', 'R5', 'R7', 'R14', 'R24', 'R29'])
  expect(commands[0]).toBe('npx avatar chaos --minutes 0.5 --only kill,terminate')
})

it('a variable that is set by hand replaces that of a part, and of no other', () => {
  const commands = nightlyParts.map((part) =>
    commandOf(withChanges(part, undefined, { FUZZ_CASES: '7' })),
  )
  const changed = nightlyParts.filter((part, at) => commandOf(part) !== commands[at])
  expect(changed.map(({ id }) => id)).toEqual(['R16'])
  expect(commands[15]).toMatch(/^FUZZ_CASES=7 /)
})

it('a small part says how small it is, and takes no longer', () => {
  const small = new Map(partsOf('small').map((part) => [part.id, part]))
  expect(commandOf(small.get('R1') ?? never())).toBe(
    'npx avatar chaos --minutes 1 --only kill,terminate',
  )
  expect(commandOf(small.get('R6') ?? never())).toMatch(/^npx vitest/)
  expect(commandOf(small.get('R15') ?? never())).toBe('node bench/load/main.ts --jobs 2000')
  for (const part of nightlyParts) {
    const its = small.get(part.id)
    if ('notRun' in part || !its || 'notRun' in its) continue
    expect(its.minutesMax, part.id).toBeLessThanOrEqual(Math.min(part.minutesMax, 20))
  }
})

it('every part fits into a night', () => {
  for (const part of nightlyParts)
    if (!('notRun' in part)) expect(part.minutesMax, part.id).toBeLessThanOrEqual(80)
})

function never(): never {
  throw new Error('there is no such part')
}

it('every promise has a command, or says why it has none', () => {
  expect(nightlyParts.map(({ id }) => id)).toEqual(
    Array.from({ length: 29 }, (_, at) => `R${at + 1}`),
  )
  for (const part of nightlyParts)
    expect('notRun' in part ? part.notRun : commandOf(part)).toMatch(/\S+ \S+/)
})
