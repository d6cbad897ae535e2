/**
 * The promises of the system, each with its command and its bound. A run starts what surely ends within its
 * time, and first what has waited longest; the next run goes on with the rest. Results of a commit are kept.
 *
 *   npm run test:nightly
 *   npm run test:nightly -- --only R5,R7
 *   npm run test:nightly -- --small          as much of each as npm test can afford
 *   npm run test:nightly -- --within 200     minutes, in the place of 80
 *   npm run test:nightly -- --lanes 2        two parts side by side, but for those that measure times
 *   npm run test:nightly -- --minutes 1      faults for a minute
 *   npm run test:nightly -- --only R16 --set FUZZ_CASES=2000   less of it, or more
 *   npm run test:nightly -- --again          also what has a result of this commit
 *   npm run test:nightly -- --record         also writes docs/promises.json, for the README
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { inLanes } from './lanes.ts'
import { commandOf, partsOf, type RunnablePart, type Size, withChanges } from './promises.ts'
import { figureOf, noteResult, type Result, readResults } from './results.ts'

const root = join(import.meta.dirname, '../..')
const folder = join(root, 'nightly-results')
const own = join(folder, 'results.json')
const recorded = join(root, 'docs/promises.json')
const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    small: { type: 'boolean', default: false },
    within: { type: 'string', default: '80' },
    lanes: { type: 'string', default: '1' },
    minutes: { type: 'string' },
    set: { type: 'string', multiple: true, default: [] },
    again: { type: 'boolean', default: false },
    record: { type: 'boolean', default: false },
  },
})
const commit = String(execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root })).trim()
const only = values.only?.split(',').map((id) => id.trim().toUpperCase())
const size: Size = values.small ? 'small' : 'night'
const variables = Object.fromEntries(values.set.map((each) => each.split('=', 2)))

await mkdir(folder, { recursive: true })
const before = (await readResults(own)).filter((result) => result.size === size)
const toRun: RunnablePart[] = []
for (const part of partsOf(size)) {
  if (only && !only.includes(part.id)) continue
  const earlier = before.find(({ id }) => id === part.id)
  if ('notRun' in part) console.log(`${part.id.padEnd(4)} not run: ${part.notRun}`)
  else if (earlier?.commit === commit && earlier.outcome === 'kept' && !values.again) {
    if (values.record) await noteResult(recorded, earlier)
    console.log(`${part.id.padEnd(4)} kept, before: ${earlier.figure}`)
  } else
    toRun.push(withChanges(part, values.minutes ? Number(values.minutes) : undefined, variables))
}
const lastRun = ({ id }: RunnablePart) => before.find((result) => result.id === id)?.date ?? ''
toRun.sort((a, b) => lastRun(a).localeCompare(lastRun(b)))

let broken = 0
const left = await inLanes(
  toRun,
  { lanes: Number(values.lanes), withinMs: Number(values.within) * 60_000, nowMs: Date.now },
  async (part) => {
    const result = await run(part)
    await noteResult(own, result)
    if (values.record) await noteResult(recorded, result)
    if (result.outcome === 'BROKEN') broken++
    console.log(`${part.id.padEnd(4)} ${result.outcome}: ${result.figure}`)
  },
)
for (const { id, minutesMax } of left)
  console.log(`${id.padEnd(4)} left for the next run: it may take ${minutesMax} minutes`)
console.log(`\n${broken} broken and ${left.length} left at ${commit}`)
process.exitCode = broken > 0 ? 1 : 0

async function run(part: RunnablePart): Promise<Result> {
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
  await writeFile(join(folder, `${part.id}.log`), output)
  if (code !== 0) console.log(output.slice(-20_000))
  const late = signal ? `; stopped after ${part.minutesMax} minutes` : ''
  return {
    id: part.id,
    size,
    outcome: code === 0 ? 'kept' : 'BROKEN',
    figure: `${figureOf(output)}; ${minutes} min${late}`,
    command,
    date: new Date().toISOString().slice(0, 10),
    commit,
  }
}

function programOf(part: RunnablePart): [string, ...string[]] {
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
