/**
 * The promises of the system, one part after the other, each with its command and its bound. Results of a
 * commit are kept: the next run goes on where this one was stopped.
 *
 *   npm run test:nightly
 *   npm run test:nightly -- --only R5,R7
 *   npm run test:nightly -- --minutes 1      faults for a minute instead of a night's
 *   npm run test:nightly -- --only R16 --set FUZZ_CASES=2000   less of it, or more
 *   npm run test:nightly -- --again          also what has a result of this commit
 *   npm run test:nightly -- --record         also writes docs/promises.json, for the README
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { commandOf, type NightlyPart, partsFor } from './promises.ts'
import { figureOf, noteResult, type Result, readResults } from './results.ts'

const root = join(import.meta.dirname, '../..')
const folder = join(root, 'nightly-results')
const own = join(folder, 'results.json')
const recorded = join(root, 'docs/promises.json')
const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    minutes: { type: 'string' },
    set: { type: 'string', multiple: true, default: [] },
    again: { type: 'boolean', default: false },
    record: { type: 'boolean', default: false },
  },
})
const commit = String(execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root })).trim()
const only = values.only?.split(',').map((id) => id.trim().toUpperCase())

await mkdir(folder, { recursive: true })
const done = new Map((await readResults(own)).map((result) => [result.id, result]))
let broken = 0
const changed = Object.fromEntries(values.set.map((each) => each.split('=', 2)))
for (const usual of partsFor(values.minutes ? Number(values.minutes) : undefined)) {
  const part = withChanged(usual)
  if (only && !only.includes(part.id)) continue
  if ('notRun' in part) {
    console.log(`${part.id.padEnd(4)} not run: ${part.notRun}`)
    continue
  }
  const before = done.get(part.id)
  const isDone = before?.commit === commit && before.outcome === 'kept' && !values.again
  const result = isDone ? before : await run(part)
  await noteResult(own, result)
  if (values.record) await noteResult(recorded, result)
  if (result.outcome === 'BROKEN') broken++
  console.log(`${part.id.padEnd(4)} ${result.outcome}${isDone ? ', before' : ''}: ${result.figure}`)
}
console.log(`\n${broken} broken at ${commit}`)
process.exitCode = broken > 0 ? 1 : 0

type Runnable = Exclude<NightlyPart, { notRun: string }>

/** What is set by hand replaces what a part sets, and nothing else. */
function withChanged(part: NightlyPart): NightlyPart {
  if ('notRun' in part || !part.env) return part
  const env = Object.entries(part.env).map(([name, value]) => [name, changed[name] ?? value])
  return { ...part, env: Object.fromEntries(env) }
}

async function run(part: Runnable): Promise<Result> {
  const command = commandOf(part) ?? ''
  console.log(`${part.id.padEnd(4)} ${command} (at most ${part.minutesMax} minutes)`)
  const [program, ...args] = programOf(part)
  const startedAtMs = performance.now()
  const child = spawn(program, args, {
    cwd: part.with === 'pytest' ? join(root, 'inference-sidecar') : root,
    env: { ...process.env, ...part.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: part.minutesMax * 60_000,
    // In order, so that it stops what it has started.
    killSignal: 'SIGTERM',
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  const [code, signal] = await once(child, 'close')
  const minutes = ((performance.now() - startedAtMs) / 60_000).toFixed(1)
  if (code !== 0) console.log(output.slice(-20_000))
  const late = signal ? `; stopped after ${part.minutesMax} minutes` : ''
  return {
    id: part.id,
    outcome: code === 0 ? 'kept' : 'BROKEN',
    figure: `${figureOf(output)}; ${minutes} min${late}`,
    command,
    date: new Date().toISOString().slice(0, 10),
    commit,
  }
}

function programOf(part: Runnable): [string, ...string[]] {
  switch (part.with) {
    case 'avatar':
      return [process.execPath, join(root, 'cli/src/main.ts'), ...part.run]
    case 'vitest':
      return [process.execPath, join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...part.run]
    case 'pytest':
      return [join(root, '.venv/bin/python'), '-m', 'pytest', '-q', ...part.run]
    case 'bench':
      return [process.execPath, ...part.run]
  }
}
