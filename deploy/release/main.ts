/**
 * Installs a release, or returns to the one before:
 *
 *   node deploy/release/main.ts apply --env ENV --release release.json
 *   node deploy/release/main.ts rollback --env ENV
 *
 * ENV is a file of `environments/`, or the path of such a file. Exits 0, or 1 with what is not as it was, or 2
 * when it was not understood.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { releaseSchema } from '@avatar/contracts'
import { environmentSchema, readConfig } from './config.ts'
import { apply, NoPreviousRelease, rollback } from './release.ts'
import { runProgram } from './run-program.ts'
import { ReleaseFailed } from './run-steps.ts'
import { toolsOf } from './tools.ts'

const usage = 'main.ts apply --env ENV --release FILE | rollback --env ENV'

async function main(): Promise<number> {
  const words = parseArgs({
    allowPositionals: true,
    options: { env: { type: 'string' }, release: { type: 'string' } },
  })
  const [way, ...rest] = words.positionals
  const { env, release: file } = words.values
  const isApply = way === 'apply' && file !== undefined
  const isRollback = way === 'rollback' && file === undefined
  if ((!isApply && !isRollback) || rest.length > 0 || env === undefined) {
    console.error(usage)
    return 2
  }
  const environment = environmentSchema.parse(JSON.parse(readFileSync(pathOf(env), 'utf8')))
  const tools = toolsOf(environment, {
    run: runProgram,
    say: (line) => console.error(line.trimEnd()),
    stamp: new Date().toISOString().replaceAll(/[:.]/g, '-'),
    ...readConfig(process.env),
  })
  if (isApply) await apply(releaseSchema.parse(JSON.parse(readFileSync(file, 'utf8'))), tools)
  else await rollback(tools)
  return 0
}

function pathOf(env: string): string {
  return env.includes('/') ? env : join(import.meta.dirname, 'environments', `${env}.json`)
}

process.exitCode = await main().catch((error) => {
  const isExpected = error instanceof ReleaseFailed || error instanceof NoPreviousRelease
  console.error(isExpected ? error.message : error)
  return 1
})
