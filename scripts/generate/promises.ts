import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { commandOf, nightlyParts } from '../nightly/promises.ts'
import { type Result, readResults } from '../nightly/results.ts'
import type { GeneratedFiles } from './generated-files.ts'

const root = join(import.meta.dirname, '../..')
const begin = '<!-- Written by npm run generate from docs/promises.json. -->'
const end = '<!-- End of the promises. -->'

/** What was shown, in `README.md`; and every promise, also those without a result, in `docs/reliability.md`. */
export async function writePromises(): Promise<GeneratedFiles> {
  const results = await readResults(join(root, 'docs/promises.json'))
  return {
    ...(await between('README.md', shortTable(results))),
    ...(await between('docs/reliability.md', longTable(results))),
  }
}

async function between(path: string, table: string): Promise<GeneratedFiles> {
  const page = await readFile(join(root, path), 'utf8')
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`${path} has no place for the promises`)
  return { [path]: `${page.slice(0, from + begin.length)}\n\n${table}\n\n${page.slice(to)}` }
}

const rows = (head: readonly string[], cells: readonly (readonly string[])[]) =>
  [head, head.map(() => '---'), ...cells]
    // A bar would begin another cell, also within code.
    .map((row) => `| ${row.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
    .join('\n')

function shortTable(results: readonly Result[]): string {
  const shown = results.flatMap(({ id, figure, outcome, command, date, commit }) => {
    const part = nightlyParts.find((each) => each.id === id)
    if (!part) return []
    const said = outcome === 'kept' ? figure : `**broken:** ${figure}`
    return [[`${part.fault}: ${part.promise}`, said, `\`${command}\``, `${date}, ${commit}`]]
  })
  return rows(['promise', 'shown', 'by', 'when'], shown)
}

function longTable(results: readonly Result[]): string {
  const all = nightlyParts.map((part) => {
    const result = results.find(({ id }) => id === part.id)
    const command = commandOf(part)
    const why = 'notRun' in part ? `not run: ${part.notRun}` : 'not run yet on a recorded machine'
    const shown = result ? `${result.outcome}: ${result.figure} (${result.date})` : why
    return [part.id, part.fault, part.promise, command ? `\`${command}\`` : '', shown]
  })
  return rows(['', 'fault', 'promise', 'command', 'shown'], all)
}
