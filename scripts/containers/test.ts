/**
 * Tests the images and the compose files with a real engine: `npm run test:containers`. Words are passed
 * on to vitest. Where there is no engine, or it cannot get its base images, it says why and the tests
 * count as skipped. It ends with one line, `N passed, N failed`.
 */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { runVitest } from '../test/suites.ts'
import {
  addTallies,
  aFailure,
  reportLines,
  summaryLine,
  type Tally,
  writeTally,
} from '../test/tally.ts'
import { ensureBaseImages } from './base-images.ts'
import { buildImages } from './build-images.ts'
import { findCompose, runProgram } from './docker.ts'
import { findEngine } from './engine.ts'

const root = join(import.meta.dirname, '../..')
const results = join(root, 'test-results')
const report = join(results, 'containers.report')
/** For all of it: CI has more to do. */
const withinMs = 15 * 60_000
/** Base images that take longer leave no time for the tests. */
const basesWithinMs = 7 * 60_000

// Whoever interrupts gets an end in order: the engine is stopped, and what it ran is removed.
const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => interrupted.abort())
const deadline = AbortSignal.any([interrupted.signal, AbortSignal.timeout(withinMs)])

await mkdir(results, { recursive: true })
await rm(report, { force: true })
const startedAt = Date.now()
const tally = await testContainers().catch((error: unknown) => aFailure(`containers: ${error}`))
await writeTally(results, 'containers', tally)
console.log('')
for (const line of reportLines(tally)) console.log(line)
console.log(`The tests of containers took ${Math.round((Date.now() - startedAt) / 1000)} s.`)
console.log(summaryLine(tally))
process.exitCode = tally.failed > 0 ? 1 : 0

async function testContainers(): Promise<Tally> {
  const engine = await findEngine()
  if (typeof engine === 'string') return skipped(engine)
  try {
    const bases = AbortSignal.any([deadline, AbortSignal.timeout(basesWithinMs)])
    const compose = await findCompose(bases).catch(asReason)
    if (typeof compose === 'string') return await skipped(compose)
    const trouble = await ensureBaseImages(bases).catch(asReason)
    if (trouble) return await skipped(trouble)
    await buildImages(['services', 'preview'], deadline)
    return await runTests(compose)
  } finally {
    await engine.stop()
  }
}

async function runTests(compose: readonly string[]): Promise<Tally> {
  const project = `avatar-test-${process.pid}`
  try {
    return await vitest({
      AVATAR_COMPOSE: JSON.stringify(compose),
      AVATAR_COMPOSE_PROJECT: project,
      // Ryuk would be pulled, and remove what a run that was cut off left; we do that ourselves.
      TESTCONTAINERS_RYUK_DISABLED: 'true',
      // No port is asked for. Without it testcontainers looks for the engine's own network: ours has none.
      TESTCONTAINERS_HOST_OVERRIDE: '127.0.0.1',
    })
  } finally {
    // A run that was cut off has not.
    const [program = '', ...words] = compose
    const down = ['-p', project, '--profile', '*', 'down', '--volumes', '--timeout', '1']
    await runProgram(program, [...words, ...down], { cwd: root }).catch(console.error)
  }
}

/** Without Compose every test skips itself. */
async function skipped(reason: string): Promise<Tally> {
  console.log(`The tests of containers are skipped. ${reason}`)
  return vitest({ AVATAR_COMPOSE: '' })
}

async function vitest(env: Readonly<Record<string, string>>): Promise<Tally> {
  const { tally, trouble } = await runVitest({
    root,
    args: ['--project=containers', ...process.argv.slice(2)],
    report,
    env,
    prefix: '',
    signal: deadline,
  })
  if (!trouble || tally.failed > 0) return tally
  const reason = deadline.aborted ? 'cut off, or not done in time' : trouble
  return addTallies(tally, aFailure(`containers: ${reason}`))
}

/** The first line of what went wrong while something was fetched. */
function asReason(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  return text.split('\n')[0] || 'No reason was given.'
}
