/**
 * Prints one line, `N passed, N failed`, over the tests of several commands that have run before:
 *
 *   node scripts/test/summary.ts test containers
 */
import { join } from 'node:path'
import { addTallies, noTests, readTally, reportLines, summaryLine } from './tally.ts'

const results = join(import.meta.dirname, '../../test-results')

let sum = noTests
for (const command of process.argv.slice(2))
  sum = addTallies(sum, await readTally(results, command))
for (const line of reportLines(sum)) console.log(line)
console.log(summaryLine(sum))
