import { defineConfig } from 'vitest/config'
import { LongestFirst } from './scripts/test/longest-first.ts'

const ignored = ['**/node_modules/**', 'InfiniteTalk/**', 'out/**', '.avatar/**', '.venv/**']

/** All have tests that need a broker or a store; contracts need neither. */
const packages = 'service-kit,backing-services,job-kit,ingest,orchestrator,janitor,cli'

/** No line here may go untested: this code decides whether and how a job ends. */
const withoutGaps = [
  'orchestrator/src/states/*.ts',
  'orchestrator/src/liveness/*.ts',
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

/** No file leaves anything behind in its process, so the files of a worker share what it has imported. */
const everywhere = { exclude: ignored, isolate: false }

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            ...['*/src/**/*.test.ts', 'scripts/**/*.test.ts', 'bench/**/*.test.ts'],
            'deploy/**/*.test.ts',
          ],
          ...everywhere,
          // vitest's default of 5 s is for a quiet machine; here the tests of both languages share its cores.
          testTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'integration',
          include: [`{${packages}}/test/**/*.test.ts`],
          ...everywhere,
          env: quickStarts,
          // A test may wait for two things, each for as long as `until` does.
          testTimeout: 480_000,
          hookTimeout: 480_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['tests/e2e/**/*.test.ts'],
          ...everywhere,
          env: quickStarts,
          testTimeout: 600_000,
          hookTimeout: 480_000,
        },
      },
      {
        // Needs an engine and images: only `npm run test:containers` runs it.
        test: {
          name: 'containers',
          include: ['tests/containers/**/*.test.ts'],
          ...everywhere,
          testTimeout: 300_000,
          hookTimeout: 600_000,
        },
      },
    ],
    // More than the cores: most tests wait for other processes most of the time.
    maxWorkers: 4,
    sequence: { sequencer: LongestFirst },
    coverage: {
      provider: 'v8',
      include: [`{contracts,${packages}}/src/**/*.ts`],
      exclude: ['**/*.test.ts'],
      reporter: ['text-summary', 'json-summary', ...(process.env.CI ? [] : ['html'])],
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
