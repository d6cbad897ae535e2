import { existsSync, readFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { runTool, skipsWithout } from '../../deploy/testing/python-tools.ts'

const root = resolve(import.meta.dirname, '../..')
const folder = join(root, '.github/workflows')
const workflows = (await readdir(folder)).toSorted()

type Step = { uses?: string; run?: string; with?: Record<string, unknown>; env?: object }
type Job = {
  uses?: string
  steps?: Step[]
  permissions?: Record<string, string>
  'timeout-minutes'?: number
}
type Workflow = {
  permissions: Record<string, string>
  jobs: Record<string, Job>
}

const textOf = (name: string) => readFileSync(join(folder, name), 'utf8')
const workflowOf = (name: string): Workflow => parse(textOf(name))
const jobsOf = (name: string) => Object.entries(workflowOf(name).jobs)

/** Who runs what a workflow runs. */
const testedBy: Readonly<Record<string, string>> = {
  '.ci/deploy': 'tests/e2e/release.test.ts',
  '.ci/release': 'deploy/release/publish.test.ts',
  // These are the tests.
  '.ci/run': '.ci/run',
  'npm run test:containers': 'scripts/containers/test.ts',
}

it('there are three', () => {
  expect(workflows).toEqual(['ci.yml', 'deploy.yml', 'release.yml'])
})

describe.skipIf(skipsWithout('actionlint'))('GitHub', () => {
  it('would take every workflow', async () => {
    const files = workflows.map((name) => join(folder, name))
    expect(await runTool('actionlint', ['-no-color', ...files])).toEqual({
      isContent: true,
      output: '',
    })
    const schema = ['--builtin-schema', 'vendor.github-workflows']
    expect((await runTool('check-jsonschema', [...schema, ...files])).isContent).toBe(true)
  }, 60_000)

  it('and Renovate its settings', async () => {
    const schema = ['--builtin-schema', 'vendor.renovate']
    const opinion = await runTool('check-jsonschema', [...schema, join(root, 'renovate.json')])
    expect(opinion.output).toContain('ok')
    expect(opinion.isContent).toBe(true)
  }, 60_000)
})

describe.each(workflows)('%s', (name) => {
  it('takes every action by its commit, with the version behind', () => {
    const lines = textOf(name).match(/^.*\buses: .*$/gm) ?? []
    expect(lines.length).toBeGreaterThan(1)
    for (const line of lines)
      if (!line.includes('uses: ./'))
        expect(line).toMatch(/uses: [\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/)
  })

  it('runs scripts of the repository that a test runs, and puts no expression into a shell', async () => {
    const runs = jobsOf(name).flatMap(([, { steps = [] }]) => steps.flatMap(({ run }) => run ?? []))
    for (const line of runs) {
      expect(line).not.toContain('${{')
      const script = Object.keys(testedBy).find((each) => `${line.trim()} `.startsWith(`${each} `))
      expect(script, line).toBeDefined()
      if (script === undefined) continue
      const test = testedBy[script] ?? ''
      expect(existsSync(join(root, test)), test).toBe(true)
      if (test.endsWith('.test.ts'))
        expect(await readFile(join(root, test), 'utf8')).toContain(script)
      if (!script.startsWith('npm')) expect(existsSync(join(root, script))).toBe(true)
    }
  })

  it('may read, and more only in the job that needs it; ends in time; keeps no credentials', () => {
    const { permissions } = workflowOf(name)
    expect(permissions).toEqual({ contents: 'read' })
    for (const [job, its] of jobsOf(name)) {
      // A called workflow has its own.
      if (!its.uses) expect(its['timeout-minutes'], job).toBeGreaterThan(0)
      const more = Object.values(its.permissions ?? {}).includes('write')
      expect(more, job).toBe(name === 'release.yml' && job === 'images')
      const checkouts = (its.steps ?? []).filter(({ uses }) => uses?.startsWith('actions/checkout'))
      for (const checkout of checkouts)
        expect(checkout.with, job).toMatchObject({ 'persist-credentials': false })
    }
  })
})
