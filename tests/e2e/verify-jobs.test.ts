import { outputPrefix } from '@avatar/contracts'
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  expectAllCompletedOnce,
  type System,
  startSystem,
  submitMany,
  until,
} from '../harness/index.ts'

type Told = {
  ok: boolean
  looked_at: number
  invariants: { invariant: string; checked: number; violations: string[] }[]
}

let system: System
beforeAll(async () => {
  system = await startSystem()
})
afterAll(async () => {
  expect(await system.stop()).toEqual([])
})

/** It ends with 1 when something contradicts. */
async function verify(): Promise<Told> {
  const run = await system.cli('verify-jobs', '--json').catch((error: { stdout: string }) => error)
  return JSON.parse(run.stdout)
}

it('agrees with a system that has worked, and names a video that somebody deleted', async () => {
  const [gone = '', stays = ''] = await submitMany(system.client, 2)
  await expectAllCompletedOnce(system, [gone, stays])
  const good = await until(
    async () => {
      const told = await verify()
      return told.looked_at === 2 ? told : undefined
    },
    { what: 'two jobs that ended some seconds ago', timeoutMs: 60_000 },
  )
  expect(good.ok).toBe(true)
  expect(good.invariants.map(({ invariant }) => invariant)).toEqual(['I2', 'I3', 'I4', 'I6'])
  for (const { checked, violations } of good.invariants) {
    expect(violations).toEqual([])
    expect(checked).toBeGreaterThan(0)
  }

  const store = await system.store()
  for (const key of await store.keys(outputPrefix(gone))) await store.delete(key)
  const bad = await verify()
  expect(bad.ok).toBe(false)
  expect(bad.invariants.flatMap(({ violations }) => violations)).toEqual([
    `${gone} is completed without its video`,
  ])
})
