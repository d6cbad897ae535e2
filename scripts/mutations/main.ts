/**
 * Whether the tests notice faults in what decides about jobs: each planted fault is put into a copy of the
 * working tree, whose named tests must then fail.
 *
 *   npm run test:mutations
 *   npm run test:mutations -- --only liveness     faults whose file or description contains a word
 *   npm run test:mutations -- --minutes 30        stops planting after that (default: 60)
 *   npm run test:mutations -- --again             plants those too whose outcome is kept
 *
 * The outcomes of a commit are kept in `test-results/mutations/`, so that the next run goes on there.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { type PlantedFault, plantedFaults } from './faults.ts'
import { figureOf, type KeptOutcome, keptOutcomes } from './kept-outcomes.ts'
import { plant } from './plant.ts'

const root = join(import.meta.dirname, '../..')
const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    minutes: { type: 'string', default: '60' },
    again: { type: 'boolean', default: false },
  },
})
/** Tests that take longer hang by the fault, which is noticed too. */
const testsWithinMs = 5 * 60_000

const chosen = plantedFaults.filter(({ what, file }) => `${file} ${what}`.includes(values.only))
const deadlineMs = performance.now() + Number(values.minutes) * 60_000
const kept = await keptOutcomes(root, commitOfTree())
const copy = await mkdtemp(join(tmpdir(), 'avatar-mutations-'))
try {
  await copyTree(copy)
  process.exitCode = (await run()) ? 0 : 1
} finally {
  await rm(copy, { recursive: true, force: true })
}

async function run(): Promise<boolean> {
  const rows: { fault: PlantedFault; known: KeptOutcome | undefined }[] = []
  const healthy = new Set<string>()
  for (const fault of chosen) {
    const before = values.again ? undefined : kept.find(fault.what)
    const known = before ?? (await plantInTime(fault, healthy))
    rows.push({ fault, known })
    const seconds = (known?.seconds ?? 0).toFixed(0).padStart(4)
    const told = `${(known?.outcome ?? 'not run').padEnd(12)} ${seconds} s  ${fault.what}`
    console.log(before ? `${told} (kept)` : told)
  }
  console.log('\n| fault | file | outcome |\n| --- | --- | --- |')
  for (const { fault, known } of rows)
    console.log(`| ${fault.what} | \`${fault.file}\` | ${known?.outcome ?? 'not run'} |`)
  const known = rows.flatMap((row) => row.known ?? [])
  console.log(`\n${figureOf(chosen.length, known)}`)
  return rows.every((row) => row.known?.outcome === 'noticed')
}

async function plantInTime(
  fault: PlantedFault,
  healthy: Set<string>,
): Promise<KeptOutcome | undefined> {
  const startedAtMs = performance.now()
  if (startedAtMs > deadlineMs) return undefined
  const outcome = await outcomeOf(fault, healthy)
  const known = { outcome, seconds: (performance.now() - startedAtMs) / 1000 }
  await kept.keep(fault.what, known)
  return known
}

/** Undefined when there is more in the tree than its commit names. */
function commitOfTree(): string | undefined {
  const git = (...args: string[]) => String(execFileSync('git', args, { cwd: root })).trim()
  return git('status', '--porcelain') === '' ? git('rev-parse', 'HEAD') : undefined
}

/** @throws Error when the tests fail without the fault: then their failure says nothing */
async function outcomeOf(
  fault: PlantedFault,
  healthy: Set<string>,
): Promise<KeptOutcome['outcome']> {
  const key = fault.tests.join(' ')
  if (!healthy.has(key) && !(await passes(fault.tests)))
    throw new Error(`these tests fail without any fault: ${key}`)
  healthy.add(key)
  const path = join(copy, fault.file)
  const original = await readFile(path, 'utf8')
  await writeFile(path, plant(original, fault.find, fault.replace))
  try {
    return (await passes(fault.tests)) ? 'NOT NOTICED' : 'noticed'
  } finally {
    await writeFile(path, original)
  }
}

/** The tracked and the new files; what is installed is shared. */
async function copyTree(to: string) {
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root })
  for (const file of String(listed).split('\n').filter(Boolean)) {
    await mkdir(dirname(join(to, file)), { recursive: true })
    await cp(join(root, file), join(to, file), { recursive: true }).catch(ignoreMissing)
  }
  for (const installed of ['node_modules', '.venv'])
    await symlink(join(root, installed), join(to, installed))
}

/** A file that was deleted and not committed yet. */
function ignoreMissing(error: NodeJS.ErrnoException) {
  if (error.code !== 'ENOENT') throw error
}

async function passes(tests: readonly string[]): Promise<boolean> {
  const vitest = join(root, 'node_modules/vitest/vitest.mjs')
  const child = spawn(process.execPath, [vitest, 'run', '--bail=1', ...tests], {
    cwd: copy,
    stdio: 'ignore',
    timeout: testsWithinMs,
    killSignal: 'SIGTERM',
  })
  const [code] = await once(child, 'exit')
  return code === 0
}
