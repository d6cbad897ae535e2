import { existsSync } from 'node:fs'
import { defineConfig } from 'vitest/config'

const ignored = ['**/node_modules/**', 'InfiniteTalk/**', 'out/**', '.avatar/**', '.venv/**']

/** What must have no untested line: whether a job ends, and how, is decided there. */
const withoutGaps = [
  'orchestrator/src/{decide,retry,liveness,held-attempt,watch-workers}.ts',
  'contracts/src/{failures,object-keys}.ts',
]

const complete = { statements: 100, branches: 100, functions: 100, lines: 100 }

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
            '{contracts,service-kit,ingest,orchestrator,janitor,cli}/test/**/*.test.ts',
            'tests/harness/**/*.test.ts',
          ],
          exclude: [...ignored, 'contracts/**'],
          globalSetup: existsSync(serversOfOneRun) ? [serversOfOneRun] : [],
          testTimeout: 30_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['tests/e2e/**/*.test.ts'],
          exclude: ignored,
          testTimeout: 240_000,
          hookTimeout: 120_000,
        },
      },
    ],
    maxWorkers: 2,
    coverage: {
      provider: 'v8',
      include: ['{contracts,service-kit,ingest,orchestrator,janitor,cli}/src/**/*.ts'],
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
