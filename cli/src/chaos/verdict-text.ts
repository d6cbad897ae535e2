import { table } from '../table.ts'
import type { Verdict } from './judge.ts'

/** How many violations of one invariant are printed. */
const violationsShown = 10

/** What a judge says, for a person: a row for each invariant, then what violates it. */
export function verdictText(verdicts: readonly Verdict[]): string {
  const rows = verdicts.map(({ invariant, promise, checked, violations }) => [
    ...[invariant, promise, String(checked), String(violations.length)],
  ])
  const shown = verdicts.flatMap(({ invariant, violations }) =>
    violations.slice(0, violationsShown).map((each) => `${invariant}: ${each}\n`),
  )
  return `${table(['', 'PROMISE', 'CHECKED', 'VIOLATIONS'], rows)}\n${shown.join('')}`
}
