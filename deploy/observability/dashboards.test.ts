import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { type DashboardJson, problemsOfDashboard } from './dashboard-rules.ts'

const here = import.meta.dirname
const folder = join(here, 'generated/dashboards')
const files = readdirSync(folder)
const python = join(here, '../../.venv/bin/python')

/** The series that recording rules make. */
const recorded = readdirSync(join(here, 'generated'))
  .filter((name) => name.endsWith('.rules.yml'))
  .flatMap((name) => {
    const text = readFileSync(join(here, 'generated', name), 'utf8')
    // Our own generator wrote it.
    const { groups } = JSON.parse(text) as { groups: { rules: { record?: string }[] }[] }
    return groups.flatMap(({ rules }) => rules.flatMap(({ record = [] }) => record))
  })

it('there is a dashboard for each question of an operator', () => {
  expect(files.toSorted()).toEqual([
    'api.json',
    'gpu-workers.json',
    'money.json',
    'one-job.json',
    'overview.json',
  ])
})

it.each(files)('%s obeys every rule, and asks only for what is told', (file) => {
  const dashboard = JSON.parse(readFileSync(join(folder, file), 'utf8')) as DashboardJson
  expect(problemsOfDashboard(dashboard, recorded)).toEqual([])
})

describe.runIf(existsSync(python) || process.env['CI'])('Grafana’s own types', () => {
  const whatIsLostOf = async (paths: readonly string[]) => {
    const script = join(here, 'read_dashboards.py')
    const run = promisify(execFile)(python, [script, ...paths])
    return run.then(({ stdout }) => stdout).catch(({ stdout }: { stdout: string }) => stdout)
  }

  it('read and write every dashboard unchanged', async () => {
    expect(await whatIsLostOf(files.map((file) => join(folder, file)))).toBe('')
  })

  it('drop a misspelled field of a panel', async () => {
    const temporary = await mkdtemp(join(tmpdir(), 'avatar-dashboard-'))
    try {
      const path = join(temporary, 'api.json')
      const text = readFileSync(join(folder, 'api.json'), 'utf8')
      await writeFile(path, text.replace('"showLegend"', '"showLegends"'))
      expect(await whatIsLostOf([path])).toMatch(/^-\s+"showLegends": true$/m)
    } finally {
      await rm(temporary, { recursive: true })
    }
  })
})
