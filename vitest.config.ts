import { defineConfig } from 'vitest/config'
import { LongestFirst } from './scripts/test/longest-first.ts'

const ignored = ['**/node_modules/**', 'InfiniteTalk/**', 'out/**', '.avatar/**', '.venv/**']

/** All have tests that need a broker or a store; contracts need neither. */
const packages = 'service-kit,backing-services,job-kit,ingest,orchestrator,janitor,cli'

/** No line here may go untested: this code decides whether and how a job ends. */
const withoutGaps = [
  'orchestrator/src/{decide,retry,liveness,held-attempt,watch-workers}.ts',
  'contracts/src/{failures,object-keys}.ts',
]

const complete = { statements: 100, branches: 100, functions: 100, lines: 100 }

/**
 * Services that tests start, many times over, compile faster with this. A vitest worker is already
 * running when it gets the variable, so its own coverage, which a compile cache would blur, stays exact.
 */
const quickStarts = {
  NODE_COMPILE_CACHE: `${import.meta.dirname}/node_modules/.cache/node-compile`,
}

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['*/src/**/*.test.ts', 'scripts/**/*.test.ts', 'bench/**/*.test.ts'],
          exclude: ignored,
          // Pure functions leave nothing behind, so files can share what a worker has imported.
          isolate: false,
          // vitest's default of 5 s is for a quiet machine; here the tests of both languages share its cores.
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'integration',
          include: [`{${packages}}/test/**/*.test.ts`],
          exclude: ignored,
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
    // More than the cores: most tests wait for other processes most of the time.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    coverage: {
      provider: 'v8',
      include: [`{contracts,${packages}}/src/**/*.ts`],
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
