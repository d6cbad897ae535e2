import { globSync, readFileSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { expect, it } from 'vitest'
import { recordingRules } from './alerts/objectives.ts'
import { alerts } from './alerts.ts'
import { problemsOf } from './promql.ts'

const folder = resolve(import.meta.dirname, '../../docs/runbooks')
const pages = globSync('*.md', { cwd: folder }).map((file) => basename(file, '.md'))
const names = alerts.map(({ name }) => name)
const recorded = recordingRules.map(({ record }) => record)
const headings = [
  'What it means',
  'How to see it',
  'What to do first',
  'When it is false',
  'Who to tell',
]
const mostLines = 40

it('each alert has a runbook, and each runbook an alert', () => {
  expect(pages.toSorted()).toEqual(names.toSorted())
})

it.each(pages)('%s can be acted on at night', (name) => {
  const page = readFileSync(resolve(folder, `${name}.md`), 'utf8')
  expect(page.trimEnd().split('\n').length).toBeLessThanOrEqual(mostLines)
  expect(page.split('\n')[0]).toBe(`# ${name}`)
  expect([...page.matchAll(/^## (.*)$/gm)].map(([, heading]) => heading)).toEqual(headings)
  for (const section of page.split(/^## .*$/m).slice(1)) expect(section.trim()).not.toBe('')
  for (const [, other = ''] of page.matchAll(/\]\((\w+)\.md\)/g)) expect(names).toContain(other)
  for (const [, query = ''] of page.matchAll(/```promql\n(.*?)```/gs))
    for (const line of query.trim().split('\n')) expect(problemsOf(line, recorded)).toEqual([])
})

it('no runbook asks avatar for a command that it does not have', () => {
  const cli = resolve(folder, '../../cli/src')
  const files = ['program.ts', 'operator-commands.ts'].map((file) => resolve(cli, file))
  const commands = files.map((file) => readFileSync(file, 'utf8')).join('\n')
  for (const name of pages) {
    const page = readFileSync(resolve(folder, `${name}.md`), 'utf8')
    for (const [, command] of page.matchAll(/npx avatar ([a-z]+)/g))
      expect(commands.includes(`.command('${command}`), `${name}: avatar ${command}`).toBe(true)
  }
})
