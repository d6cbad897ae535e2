import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { boundaryProblems } from './boundaries.ts'

const packages = [
  ...['contracts', 'service-kit', 'backing-services', 'job-kit'],
  ...['ingest', 'orchestrator', 'janitor', 'cli'],
]
const libraries = [
  'zod',
  'vitest',
  '@nats-io/jetstream',
  '@aws-sdk/client-s3',
  '@opentelemetry/api',
]

/** A file, what it imports, and the rule that forbids it. */
const forbidden: readonly (readonly [file: string, imports: string, rule: string])[] = [
  ['contracts/src/a.ts', 'node:fs', 'contracts depend on zod alone'],
  ['contracts/src/b.ts', 'vitest', 'contracts depend on zod alone'],
  ['contracts/src/c.test.ts', '@avatar/service-kit/testing', "layers of contracts's tests"],
  ['service-kit/src/a.ts', '@avatar/job-kit', 'layers of service-kit'],
  ['service-kit/src/b.ts', '@avatar/backing-services', 'layers of service-kit'],
  ['job-kit/src/a.ts', '@avatar/backing-services', 'layers of job-kit'],
  ['backing-services/src/a.ts', '@avatar/job-kit', 'layers of backing-services'],
  ['ingest/src/a.ts', '@avatar/orchestrator', 'layers of ingest'],
  ['ingest/src/b.ts', '@avatar/backing-services', 'layers of ingest'],
  ['orchestrator/src/a.ts', '../../janitor/src/index.ts', 'layers of orchestrator'],
  ['janitor/src/a.ts', '@avatar/cli', 'layers of janitor'],
  ['cli/src/a.ts', '@avatar/ingest', 'layers of cli'],
  ['ingest/test/a.ts', '@avatar/orchestrator', "layers of ingest's tests"],
  ['orchestrator/src/states/decide.ts', 'node:fs', 'decisions are pure'],
  ['orchestrator/src/states/retry.ts', '../acts.ts', 'decisions are pure'],
  ['ingest/src/c.ts', '@nats-io/jetstream', 'who speaks NATS'],
  ['service-kit/src/health.ts', '@nats-io/jetstream', 'who speaks NATS'],
  ['scripts/a.ts', '@nats-io/jetstream', 'who speaks NATS'],
  ['janitor/src/b.ts', '@aws-sdk/client-s3', 'who speaks S3'],
  ['service-kit/src/bus.ts', '@opentelemetry/api', 'who speaks OpenTelemetry'],
  ['service-kit/src/otlp.ts', '@opentelemetry/api', 'who speaks OpenTelemetry'],
  ['tests/e2e/a.test.ts', '@avatar/service-kit', 'end-to-end tests see the system from outside'],
  ['tests/e2e/b.test.ts', '@nats-io/jetstream', 'end-to-end tests see the system from outside'],
  ['tests/harness/a.ts', '@avatar/service-kit', 'the harness imports no product'],
  ['deploy/a/alerts.ts', '@avatar/service-kit', 'deployments are made of the contracts'],
  ['ingest/src/d.ts', '../../contracts/src/jobs.ts', 'no deep imports'],
  ['bench/a.ts', '../ingest/src/config.ts', 'no deep imports'],
  ['ingest/src/e.ts', '@avatar/service-kit/testing', 'no testing code in production'],
  ['cli/src/circle.ts', './round.ts', 'no cycles'],
  ['cli/src/b.ts', '@avatar/nowhere', 'every import resolves'],
]

const allowed: readonly (readonly [file: string, imports: string])[] = [
  ['contracts/src/jobs.ts', 'zod'],
  ['contracts/src/jobs.test.ts', 'node:fs'],
  ['service-kit/src/record-store.ts', '@nats-io/jetstream'],
  ['service-kit/src/object-store.ts', '@aws-sdk/client-s3'],
  ['service-kit/src/metrics.ts', '@opentelemetry/api'],
  ['service-kit/test/bus.test.ts', '@avatar/backing-services/testing'],
  ['backing-services/src/provision-broker.ts', '@nats-io/jetstream'],
  ['orchestrator/src/acts.ts', 'node:fs'],
  ['ingest/src/config.ts', '@avatar/job-kit'],
  ['ingest/test/world.ts', '@avatar/backing-services/testing'],
  ['cli/src/round.ts', './circle.ts'],
  ['cli/src/up.ts', '@avatar/backing-services'],
  ['tests/harness/world.ts', '@nats-io/jetstream'],
  ['tests/harness/until.ts', '@avatar/service-kit/testing'],
  ['tests/e2e/c.test.ts', '../harness/world.ts'],
  ['scripts/generate/configuration.ts', '../../ingest/src/config.ts'],
  ['bench/b.ts', '../tests/harness/world.ts'],
  ['examples/a.ts', '@aws-sdk/client-s3'],
]

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'avatar-boundaries-'))
  const write = async (path: string, text: string) => {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), text)
  }
  const manifest = (name: string, exports: object) => JSON.stringify({ name, exports })
  await mkdir(join(root, 'node_modules/@avatar'), { recursive: true })
  for (const name of packages) {
    const exports = { '.': './src/index.ts', './testing': './testing/index.ts' }
    await write(`${name}/package.json`, manifest(`@avatar/${name}`, exports))
    await write(`${name}/src/index.ts`, 'export {}\n')
    await write(`${name}/testing/index.ts`, 'export {}\n')
    await symlink(join(root, name), join(root, 'node_modules/@avatar', name))
  }
  for (const name of libraries) {
    await write(`node_modules/${name}/package.json`, manifest(name, { '.': './index.js' }))
    await write(`node_modules/${name}/index.js`, 'export {}\n')
  }
  for (const [file, imports] of [...forbidden, ...allowed])
    await write(file, `import type { Any } from '${imports}'\nexport type Its = Any\n`)
})
afterAll(() => rm(root, { recursive: true }))

it('finds every planted violation, also of types, and nothing else', async () => {
  const problems = await boundaryProblems(root)
  const found = problems.map((problem) => {
    const [, file, rule] = /^(\S+) → .* \((.+)\)$/.exec(problem) ?? []
    return `${file}: ${rule}`
  })
  const planted = forbidden.map(([file, , rule]) => `${file}: ${rule}`)
  expect([...new Set(found)].filter((one) => !planted.includes(one))).toEqual([])
  expect(planted.filter((one) => !found.includes(one))).toEqual([])
  for (const problem of problems) expect(problem).toMatch(/: .+\. \(/)
})
