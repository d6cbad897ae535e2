/**
 * Writes the hashed locks of the sidecar; each takes its versions from the locks before it:
 *
 *   npm run lock:python
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { imageLocks, overridesIn, pythonLocks, readPyproject } from './check/python-locks.ts'

const root = join(import.meta.dirname, '..')
const sidecar = join(root, 'inference-sidecar')
const form = '--quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header'
const everywhere = '--universal'
/** The machines that the images are made for. */
const inImages = '--python-platform x86_64-unknown-linux-gnu'

const extrasOf = (parts: readonly string[]) =>
  parts.filter((part) => part !== 'dependencies').flatMap((extra) => ['--extra', extra])
const withinLocks = (locks: readonly string[]) => locks.flatMap((lock) => ['-c', lock])

for (const { file, parts, beside } of pythonLocks) {
  // The dependencies of torch are locked with the engine, torch itself is not (see pyproject.toml).
  const extras = parts.includes('engine') ? [...parts, 'torch'] : parts
  compile(file, 'pyproject.toml', [
    ...everywhere.split(' '),
    ...['--no-emit-package', 'torch'],
    ...extrasOf(extras),
    ...withinLocks(beside),
  ])
}

const temporary = mkdtempSync(join(tmpdir(), 'avatar-locks-'))
try {
  const pyproject = readPyproject(sidecar)
  const overrides = join(temporary, 'overrides.txt')
  writeFileSync(overrides, overridesIn(pyproject).join('\n'))
  for (const { file, parts, only, within } of imageLocks) {
    compile(file, only.length > 0 ? only : 'pyproject.toml', [
      // Without what pyproject.toml says of torch for every kind of machine: an image is for one kind.
      ...['--no-config', '--overrides', overrides],
      ...inImages.split(' '),
      '--no-annotate',
      ...extrasOf(parts),
      ...withinLocks(within),
    ])
  }
} finally {
  rmSync(temporary, { recursive: true })
}

/** `source` is a file, or a list of packages. */
function compile(file: string, source: string | readonly string[], options: readonly string[]) {
  const isFile = typeof source === 'string'
  const { status } = spawnSync(
    join(root, '.venv/bin/uv'),
    ['pip', 'compile', ...form.split(' '), ...options, isFile ? source : '-', '-o', file],
    {
      cwd: sidecar,
      input: isFile ? '' : source.join('\n'),
      stdio: ['pipe', 'inherit', 'inherit'],
    },
  )
  if (status !== 0) throw new Error(`${file} could not be written`)
}
