import { execFile } from 'node:child_process'
import { resolve } from 'node:path'
import { expect, it } from 'vitest'

const avatar = resolve(import.meta.dirname, '../../cli/src/main.ts')

type Report = {
  seed: number
  kept: boolean
  invariants: { invariant: string; checked: number; violations: string[] }[]
  faults: Record<string, number>
  jobs: Record<string, number>
  unsettled: string | null
}

/** A run that breaks a promise ends with 1, and has told everything. */
function avatarChaos(args: readonly string[]): Promise<{ stdout: string; stderr: string }> {
  return new Promise((done, fail) => {
    execFile(process.execPath, [avatar, 'chaos', ...args], (error, stdout, stderr) => {
      if (stdout === '') fail(new Error(stderr, { cause: error }))
      else done({ stdout, stderr })
    })
  })
}

it('half a minute of avatar chaos breaks no promise', async () => {
  const seed = process.env['CHAOS_SEED'] || String(Date.now() % 1_000_000)
  console.log(`chaos: CHAOS_SEED=${seed}`)
  const { stdout } = await avatarChaos(['--seed', seed, '--minutes', '0.5', '--json'])
  const report: Report = JSON.parse(stdout)
  console.log(`chaos: ${JSON.stringify({ faults: report.faults, jobs: report.jobs })}`)
  for (const { invariant, checked, violations } of report.invariants) {
    expect(violations, invariant).toEqual([])
    expect(checked, invariant).toBeGreaterThan(0)
  }
  expect(report).toMatchObject({ seed: Number(seed), kept: true, unsettled: null })
  expect(report.jobs['accepted']).toBeGreaterThanOrEqual(12)
  expect(Object.values(report.faults).reduce((sum, each) => sum + each, 0)).toBeGreaterThan(5)
})
