import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { figureOf, keptOutcomes } from './kept-outcomes.ts'

let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'avatar-mutations-'))
})
afterEach(() => rm(root, { recursive: true }))

const noticed = { outcome: 'noticed', seconds: 90 } as const
const missed = { outcome: 'NOT NOTICED', seconds: 30 } as const

it('goes on where an earlier piece of the same commit ended', async () => {
  const first = await keptOutcomes(root, 'abc')
  await first.keep('a job vanishes', noticed)
  await first.keep('a job ends twice', missed)
  const second = await keptOutcomes(root, 'abc')
  expect(second.find('a job vanishes')).toEqual(noticed)
  expect(second.find('a job ends twice')).toEqual(missed)
  expect((await keptOutcomes(root, 'def')).find('a job vanishes')).toBeUndefined()
})

it('keeps nothing of a tree that no commit names', async () => {
  const outcomes = await keptOutcomes(root, undefined)
  await outcomes.keep('a job vanishes', noticed)
  expect(outcomes.find('a job vanishes')).toEqual(noticed)
  expect(await readdir(root)).toEqual([])
})

it('tells a whole run in one line, and how far one in pieces is', () => {
  expect(figureOf(2, [noticed, missed])).toBe('mutations: 2 faults planted, 1 noticed, 2.0 min')
  expect(figureOf(3, [noticed])).toBe('mutations: 1 of 3 faults planted, 1 noticed, 1.5 min')
})
