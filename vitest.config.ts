import { existsSync } from 'node:fs'
import { defineConfig } from 'vitest/config'
import { LongestFirst } from './scripts/test/longest-first.ts'

const ignored = ['**/node_modules/**', 'InfiniteTalk/**', 'out/**', '.avatar/**', '.venv/**']

/** What must have no untested line: whether a job ends, and how, is decided there. */
const withoutGaps = [
  'orchestrator/src/{decide,retry,liveness,held-attempt,watch-workers}.ts',
  'contracts/src/{failures,object-keys}.ts',
]

const complete = { statements: 100, branches: 100, functions: 100, lines: 100 }

/**
 * For the services that tests start, many times over: a worker of vitest is already up when it gets
 * this, so that its own coverage, which such a cache would blur, is as exact as ever.
 */
const quickStarts = {
  NODE_COMPILE_CACHE: `${import.meta.dirname}/node_modules/.cache/node-compile`,
}

const serversOfOneRun = 'service-kit/testing/global-setup.ts'

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            '*/src/**/*.test.ts',
            'contracts/test/**/*.test.ts',
            'scripts/**/*.test.ts',
            'bench/**/*.test.ts',
          ],
          exclude: ignored,
          // The default of 5 s is for a quiet machine; here both languages' tests share its cores.
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'integration',
          include: [
            '{contracts,service-kit,backing-services,job-kit,ingest,orchestrator,janitor,cli}/test/**/*.test.ts',
            'tests/harness/**/*.test.ts',
          ],
          exclude: [...ignored, 'contracts/**'],
          globalSetup: existsSync(serversOfOneRun) ? [serversOfOneRun] : [],
          env: quickStarts,
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['tests/e2e/**/*.test.ts'],
          exclude: ignored,
          env: quickStarts,
          testTimeout: 240_000,
          hookTimeout: 120_000,
        },
      },
    ],
    // More than two cores: most tests wait for other processes most of the time.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    coverage: {
      provider: 'v8',
      include: [
        '{contracts,service-kit,backing-services,job-kit,ingest,orchestrator,janitor,cli}/src/**/*.ts',
      ],
      exclude: ['**/*.test.ts'],
      reporter: ['text-summary', 'json-summary', 'html'],
      reportsDirectory: 'coverage/typescript',
      thresholds: {
        statements: 85,
        lines: 85,
        functions: 85,
        branches: 80,
        ...Object.fromEntries(withoutGaps.map((files) => [files, complete])),
      },
    },
  },
})
