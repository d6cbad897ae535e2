import { readFile, writeFile } from 'node:fs/promises'
import { stripVTControlCharacters } from 'node:util'
import type { Size } from './promises.ts'

/** What one run of a part showed. */
export type Result = {
  id: string
  size: Size
  outcome: 'kept' | 'BROKEN'
  /** In one line, as its command printed it. */
  figure: string
  command: string
  /** Such as `2026-11-29`. */
  date: string
  /** The commit that ran. */
  commit: string
}

/** The results in a file; none where it does not exist. Those of before there were two sizes are of a night. */
export async function readResults(path: string): Promise<Result[]> {
  const text = await readFile(path, 'utf8').catch(() => '[]')
  const results: Result[] = JSON.parse(text)
  return results.map((result) => ({ ...result, size: result.size ?? 'night' }))
}

/** Replaces the result of the same part at the same size, and keeps the others. */
export async function noteResult(path: string, result: Result): Promise<void> {
  const isSame = ({ id, size }: Result) => id === result.id && size === result.size
  const others = (await readResults(path)).filter((each) => !isSame(each))
  const numberOf = ({ id }: Result) => Number(id.slice(1))
  const all = [...others, result].sort(
    (a, b) => numberOf(a) - numberOf(b) || a.size.localeCompare(b.size),
  )
  await writeFile(path, `${JSON.stringify(all, null, 2)}\n`)
}

/** How a test or a benchmark says itself what it has shown, such as `cancels: 16 cancels, …`. */
const ownFigure = /^(?:[a-z][a-z ]+: )?(\d+ [a-z][a-z' ]*[ ,:].*)/
/** What vitest says of files and tests, and a runner of its children, also begins with a number. */
const noFigure = /^\d+ (?:passed|failed|broken|skipped|tests?)\b/

/** The one line of a part's output that says what it showed. Colours are left out. */
export function figureOf(output: string): string {
  const lines = stripVTControlCharacters(output)
    .split('\n')
    .map((line) => line.trim())
  const rows = lines.filter((line) => /^I\d /.test(line))
  const violations = rows.reduce((sum, row) => sum + Number(/(\d+)$/.exec(row)?.[1] ?? 0), 0)
  const chaos = lines.find((line) => /^\d+ faults, \d+ accepted: /.test(line))
  const seed = lines.map((line) => /^seed (\d+); again/.exec(line)?.[1]).find(Boolean)
  if (chaos) return `${chaos}; ${violations} violations of ${rows.length} invariants; seed ${seed}`
  const tests = lines.find((line) => /^Tests .*(passed|failed)/.test(line))
  const own = lines.flatMap((line) => ownFigure.exec(line)?.[1] ?? [])
  const shown = own.filter((line) => !noFigure.test(line))
  if (shown.length > 0 && !tests?.includes('failed')) return shown.join('; ')
  // What a filter left out is no part of the figure.
  const counts = tests?.matchAll(/(\d+) (passed|failed)/g)
  if (counts) return `tests: ${[...counts].map(([count]) => count).join(', ')}`
  return lines.findLast((line) => /passed|failed/.test(line)) ?? 'no figure'
}
