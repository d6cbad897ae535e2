/**
 * Who may import whom, checked by dependency-cruiser. `boundaries.test.ts` plants a violation of each rule.
 * Paths are regular expressions from the root of the repository.
 */
import { join } from 'node:path'
import { cruise, type ICruiseResult, type IForbiddenRuleType } from 'dependency-cruiser'

/** Which of our packages each package may use at run time. */
const mayUse: Readonly<Record<string, readonly string[]>> = {
  contracts: [],
  'service-kit': ['contracts'],
  'backing-services': ['contracts', 'service-kit'],
  'job-kit': ['contracts', 'service-kit'],
  ingest: ['contracts', 'service-kit', 'job-kit'],
  orchestrator: ['contracts', 'service-kit', 'job-kit'],
  janitor: ['contracts', 'service-kit', 'job-kit'],
  cli: ['contracts', 'service-kit', 'job-kit', 'backing-services'],
}
/** What tests may use in addition: real servers and `until`. Tests of the contracts use nothing else. */
const testsMayUse = ['contracts', 'service-kit', 'backing-services']

const any = (names: readonly string[]) => `(${names.join('|')})`
const packages = any(Object.keys(mayUse))
const folders = [...Object.keys(mayUse), 'deploy', 'tests', 'bench', 'scripts', 'examples']
const rooms = any(folders)
const test = '\\.test\\.ts$'
const forTests = `${test}|^[^/]+/(test|testing)/|^(tests|bench|examples)/`

const layers = Object.entries(mayUse).flatMap(([name, used]) => [
  {
    name: `layers of ${name}`,
    comment: `${name} may use ${used.join(', ') || 'no other package'}: services meet only on NATS and S3.`,
    from: { path: `^${name}/src/`, pathNot: test },
    to: { path: `^${rooms}/`, pathNot: `^${any([name, ...used])}/` },
  },
  {
    name: `layers of ${name}'s tests`,
    comment: `Tests of ${name} may also use real servers and what waits for them, but no other service.`,
    from: { path: `^${name}/(test/|testing/|.*${test})` },
    to: {
      path: `^${rooms}/`,
      // The fake of a provider is no service of ours.
      pathNot: `^${any(name === 'contracts' ? [name] : [name, ...used, ...testsMayUse])}/|^tests/harness/runpod/`,
    },
  },
])

const rules: readonly IForbiddenRuleType[] = [
  ...layers,
  {
    name: 'contracts depend on zod alone',
    comment: 'Contracts are pure: no I/O, not even of Node, and no library but zod.',
    from: { path: '^contracts/src/', pathNot: test },
    to: { pathNot: '^contracts/src/|^node_modules/zod/' },
  },
  {
    name: 'decisions are pure',
    comment: 'What decides about a job reaches nothing that acts, not even through its neighbours.',
    from: { path: '^orchestrator/src/states/', pathNot: test },
    to: { reachable: true, pathNot: '^(contracts|orchestrator)/src/|^node_modules/zod/' },
  },
  {
    name: 'who speaks NATS',
    comment:
      'Only the bus, the record store and provisioning use the client: take the bus that you get.',
    from: {
      path: `^${rooms}/`,
      pathNot: `^service-kit/src/(bus[^/]*|consumer-loop|record-store)\\.ts$|^backing-services/src/(provision-[^/]*|operator-connection|broker-[^/]*)\\.ts$|${forTests}`,
    },
    to: { path: '^node_modules/@nats-io/' },
  },
  {
    name: 'who speaks S3',
    comment:
      'Only object-store.ts and its presigner use the AWS SDK: take the ObjectStore that you get.',
    from: {
      path: `^${rooms}/`,
      pathNot: `^service-kit/src/(object-store|presigner)\\.ts$|${forTests}`,
    },
    to: { path: '^node_modules/@aws-sdk/' },
  },
  {
    name: 'who speaks OpenTelemetry',
    comment:
      'Only metrics.ts, scrape-reader.ts and trace.ts use OpenTelemetry: take what they give.',
    from: {
      path: `^${rooms}/`,
      // The test compares what we write with what OpenTelemetry does.
      pathNot: '^service-kit/src/((metrics|scrape-reader|trace)(\\.test)?|otlp\\.test)\\.ts$',
    },
    to: { path: '^node_modules/@opentelemetry/' },
  },
  {
    name: 'end-to-end tests see the system from outside',
    comment:
      'They import only the contracts and tests/harness, and reach NATS and S3 through the harness.',
    from: { path: '^tests/e2e/' },
    to: {
      path: `^${rooms}/|^node_modules/@(nats-io|aws-sdk)/`,
      pathNot: '^tests/(e2e|harness)/|^contracts/',
    },
  },
  {
    name: 'deployments are made of the contracts',
    comment: 'Files for other programs follow from the contracts, not from what runs here.',
    from: { path: '^deploy/' },
    to: { path: `^${rooms}/`, pathNot: '^(deploy|contracts)/' },
  },
  {
    name: 'the harness imports no product',
    comment: "tests/harness may use the contracts and @avatar/service-kit/testing's until.",
    from: { path: '^tests/harness/' },
    to: {
      path: `^${rooms}/`,
      pathNot: '^tests/harness/|^contracts/|^service-kit/testing/index\\.ts$',
    },
  },
  {
    name: 'no deep imports',
    comment: 'Import a package by its name: what it does not export is its own business.',
    from: { path: '^([^/]+)/', pathNot: '^scripts/generate/configuration\\.ts$' },
    to: {
      path: `^${packages}/`,
      // The second is exported for a process that imports as little as it can.
      pathNot: '^$1/|^[^/]+/(src|testing)/index\\.ts$|^service-kit/src/last-words\\.ts$',
    },
  },
  {
    name: 'no testing code in production',
    comment: 'Test servers and factories have no place in production code.',
    from: { path: `^${packages}/src/`, pathNot: test },
    to: { path: '^[^/]+/testing/' },
  },
  {
    name: 'no cycles',
    comment:
      'Files that import each other, even for types only, cannot be understood one at a time.',
    from: {},
    to: { circular: true },
  },
  {
    name: 'every import resolves',
    comment: 'No rule can judge an import that leads nowhere.',
    from: {},
    to: { couldNotResolve: true },
  },
]

/** Every import that a rule forbids, with the sentence that says why. */
export async function boundaryProblems(root: string): Promise<string[]> {
  const { output } = await cruise(
    folders,
    {
      baseDir: root,
      parser: 'swc', // TypeScript 7 has no API that dependency-cruiser could use.
      tsPreCompilationDeps: true, // Imports of types count too.
      doNotFollow: { path: 'node_modules' },
      validate: true,
      ruleSet: { forbidden: rules.map((rule) => ({ severity: 'error', ...rule })) },
    },
    {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default'],
      extensions: ['.ts', '.mjs', '.js', '.json'],
    },
  )
  const { violations } = (output as ICruiseResult).summary // Without a reporter it is no text.
  return violations.map(({ from, to, rule }) => {
    const sentence = rules.find(({ name }) => name === rule.name)?.comment
    return `${from} → ${to}: ${sentence} (${rule.name})`
  })
}

if (import.meta.main) {
  const problems = await boundaryProblems(join(import.meta.dirname, '../..'))
  for (const problem of problems) console.log(problem)
  process.exitCode = problems.length > 0 ? 1 : 0
}
