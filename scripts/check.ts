/**
 * Everything that can be said about the code without running it, in both languages. Writes nothing;
 * what can be repaired is repaired by `npm run fix`, which is this with `--fix`.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { lockfileProblems } from './check/lockfiles.ts'
import { engineSetup, hasEnginePackages } from './engine-packages.ts'

const root = join(import.meta.dirname, '..')
const sidecar = join(root, 'inference-sidecar')
const inModules = (path: string) => join(root, 'node_modules', path)
const inVenv = (path: string) => join(root, '.venv/bin', path)

type Step = {
  name: string
  command: readonly [string, ...string[]]
  cwd?: string
  /** Needs torch to be installed: without its types there is nothing to hold the code against. */
  isOfEngine?: boolean
}

/** Biome does not look for itself whether anybody sees its colours. */
const colours = process.stdout.isTTY ? '--colors=force' : '--colors=off'

/** One set of rules for all Python: the sidecar's. */
function ruff(...words: readonly string[]): Step['command'] {
  return [inVenv('ruff'), ...words, '--config', 'pyproject.toml', '.', '../bench']
}

const checks: readonly Step[] = [
  { name: 'format, lint, boundaries', command: [inModules('.bin/biome'), 'ci', colours, '.'] },
  { name: 'types', command: [inModules('.bin/tsc'), '-p', '.', '--noEmit'] },
  { name: 'generated files', command: [process.execPath, 'scripts/generate.ts', '--check'] },
  { name: 'Python lint', command: ruff('check'), cwd: sidecar },
  { name: 'Python format', command: ruff('format', '--check'), cwd: sidecar },
  {
    name: 'Python boundaries',
    command: [inVenv('lint-imports'), '--no-cache'],
    cwd: sidecar,
  },
  { name: 'Python types', command: [inModules('.bin/pyright'), '-p', '.'], cwd: sidecar },
  {
    name: 'Python types of the engine',
    command: [inModules('.bin/pyright'), '-p', 'pyright-engine.json'],
    cwd: sidecar,
    isOfEngine: true,
  },
]

const fixes: readonly Step[] = [
  { name: 'generated files', command: [process.execPath, 'scripts/generate.ts'] },
  { name: 'format and lint', command: [inModules('.bin/biome'), 'check', '--write', colours, '.'] },
  { name: 'Python lint', command: ruff('check', '--fix'), cwd: sidecar },
  { name: 'Python format', command: ruff('format'), cwd: sidecar },
]

const isFix = process.argv.includes('--fix')
const failed: string[] = []
const hasEngine = hasEnginePackages(root)

for (const { name, command, cwd, isOfEngine } of isFix ? fixes : checks) {
  console.log(`\n${name}`)
  if (isOfEngine && !hasEngine) {
    console.log(`Left out: torch is not installed (${engineSetup}).`)
    if (process.env.CI) failed.push(name)
    continue
  }
  const [program, ...args] = command
  const env = { ...process.env, PYRIGHT_PYTHON_IGNORE_WARNINGS: '1' }
  const child = spawn(program, args, {
    cwd: cwd ?? root,
    env,
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  const [code] = await once(child, 'close')
  if (code !== 0) failed.push(name)
}

console.log('\nlock files')
const problems = await lockfileProblems(root)
for (const problem of problems) console.log(problem)
if (problems.length > 0) failed.push('lock files')

console.log(
  failed.length > 0 ? `\nNot in order: ${failed.join('; ')}` : '\nEverything is in order.',
)
process.exitCode = failed.length > 0 ? 1 : 0
