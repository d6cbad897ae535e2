/**
 * Everything that can be said about the code without running it, in both languages. Writes nothing;
 * what a tool can repair is repaired by `npm run fix`, which is this with `--fix`.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { engineSetup, hasEnginePackages } from './engine-packages.ts'

const root = join(import.meta.dirname, '..')
const sidecar = join(root, 'inference-sidecar')

type Step = {
  name: string
  command: readonly [string, ...string[]]
  /** The root if left out. */
  cwd?: string
  /** Needs torch: without its types there is nothing to check against. */
  needsEngine?: boolean
}

const npmTool = (name: string) => join(root, 'node_modules/.bin', name)
const pythonTool = (name: string) => join(root, '.venv/bin', name)
const ownScript = (path: string) => [process.execPath, join(import.meta.dirname, path)] as const

/** Biome does not look for itself whether anybody sees its colours. */
const colours = process.stdout.isTTY ? '--colors=force' : '--colors=off'

/** All Python follows the sidecar's rules. */
const ruff = (...words: readonly string[]) =>
  [
    pythonTool('ruff'),
    ...words,
    '--config',
    'pyproject.toml',
    '.',
    '../bench',
    '../deploy',
    '../tests',
  ] as const

/** To add a check, add a line: a command that writes nothing and fails when something is wrong. */
const checks: readonly Step[] = [
  { name: 'format and lint', command: [npmTool('biome'), 'ci', colours, '.'] },
  { name: 'import boundaries', command: ownScript('check/boundaries.ts') },
  { name: 'merge conflicts', command: ownScript('check/conflicts.ts') },
  { name: 'types', command: [npmTool('tsc'), '-p', '.', '--noEmit'] },
  { name: 'types of the page', command: [npmTool('tsc'), '-p', 'ingest/page', '--noEmit'] },
  { name: 'generated files', command: [...ownScript('generate.ts'), '--check'] },
  { name: 'Python lint', command: ruff('check'), cwd: sidecar },
  { name: 'Python format', command: ruff('format', '--check'), cwd: sidecar },
  {
    name: 'Python import boundaries',
    command: [pythonTool('lint-imports'), '--no-cache'],
    cwd: sidecar,
  },
  { name: 'Python types', command: [npmTool('pyright'), '-p', '.'], cwd: sidecar },
  {
    name: 'Python types of the engine',
    command: [npmTool('pyright'), '-p', 'pyright-engine.json'],
    cwd: sidecar,
    needsEngine: true,
  },
  { name: 'lock files', command: ownScript('check/lockfiles.ts') },
]

const fixes: readonly Step[] = [
  { name: 'generated files', command: ownScript('generate.ts') },
  { name: 'format and lint', command: [npmTool('biome'), 'check', '--write', colours, '.'] },
  { name: 'Python lint', command: ruff('check', '--fix'), cwd: sidecar },
  { name: 'Python format', command: ruff('format'), cwd: sidecar },
  { name: 'lock files', command: ownScript('check/lockfiles.ts') },
]

const steps = process.argv.includes('--fix') ? fixes : checks
const hasEngine = hasEnginePackages(root)
const failed: string[] = []

for (const { name, command, cwd = root, needsEngine } of steps) {
  console.log(`\n${name}`)
  if (needsEngine && !hasEngine) {
    console.log(`Left out: torch is not installed (${engineSetup}).`)
    if (process.env.CI) failed.push(name)
    continue
  }
  const [program, ...args] = command
  const env = { ...process.env, PYRIGHT_PYTHON_IGNORE_WARNINGS: '1' }
  const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'inherit', 'inherit'] })
  const [code] = await once(child, 'close')
  if (code !== 0) failed.push(name)
}

console.log(
  failed.length > 0 ? `\nNot in order: ${failed.join('; ')}` : '\nEverything is in order.',
)
process.exitCode = failed.length > 0 ? 1 : 0
