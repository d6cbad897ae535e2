import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** A minute or more each, much of it waiting: started late, the last would run alone at the end. */
const longest = [
  'e2e/deletion-walk',
  'e2e/kill-walk',
  'e2e/infinitetalk',
  'e2e/operations',
  'e2e/release',
  'e2e/kill-each-process',
  'e2e/ledger',
  'e2e/fair-share',
  'e2e/limits',
  'e2e/stopped-worker',
  'e2e/store-trouble',
  'e2e/runpod',
  'e2e/chaos',
  'orchestrator/test/scale',
  'cli/test/starts',
]

/** Starts the longest files first: a fresh clone has no times of an earlier run to sort by. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const found = longest.findIndex((name) => moduleId.endsWith(`${name}.test.ts`))
      return found === -1 ? longest.length : found
    }
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b))
  }
}
