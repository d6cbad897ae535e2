import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { commandOf, nightlyParts, type Size } from '../nightly/promises.ts'
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

const outcomeOf = ({ outcome, figure }: Result) =>
  outcome === 'kept' ? figure : `**broken:** ${figure}`

/** What a night showed, or the small run where no night has been. */
function shortTable(results: readonly Result[]): string {
  const shown = nightlyParts.flatMap((part) => {
    const result = resultOf(results, part.id, 'night') ?? resultOf(results, part.id, 'small')
    if (!result) return []
    const { command, date, commit } = result
    const promise = `${part.id} ${part.fault}: ${part.promise}`
    return [[promise, outcomeOf(result), `\`${command}\``, `${date}, ${commit}`]]
  })
  return rows(['promise', 'shown', 'by', 'when'], shown)
}

function longTable(results: readonly Result[]): string {
  const all = nightlyParts.map((part) => {
    const shown = (['small', 'night'] as const).map((size) => {
      const result = resultOf(results, part.id, size)
      if (result)
        return `${outcomeOf(result)} (\`${result.command}\`, ${result.date}, ${result.commit})`
      return 'notRun' in part ? `not run: ${part.notRun}` : 'not run yet'
    })
    const command = commandOf(part)
    return [part.id, part.fault, part.promise, command ? `\`${command}\`` : '', ...shown]
  })
  return rows(['', 'fault', 'promise', "a night's command", 'shown, small', 'shown at night'], all)
}

const resultOf = (results: readonly Result[], id: string, size: Size) =>
  results.find((result) => result.id === id && result.size === size)
