/**
 * Writes the hashed locks of the sidecar; each takes its versions from the locks before it:
 *
 *   npm run lock:python
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { pythonLocks } from './check/python-locks.ts'

const root = join(import.meta.dirname, '..')
const form =
  '--quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header'

for (const { file, parts, beside } of pythonLocks) {
  // The dependencies of torch are locked with the engine, torch itself is not (see pyproject.toml).
  const extras = beside.length > 0 ? [...parts, 'torch'] : parts
  const options = [
    ...form.split(' '),
    ...['--no-emit-package', 'torch'],
    ...extras.filter((part) => part !== 'dependencies').flatMap((extra) => ['--extra', extra]),
    ...beside.flatMap((other) => ['-c', other]),
  ]
  const { status } = spawnSync(
    join(root, '.venv/bin/uv'),
    ['pip', 'compile', ...options, 'pyproject.toml', '-o', file],
    { cwd: join(root, 'inference-sidecar'), stdio: 'inherit' },
  )
  if (status !== 0) throw new Error(`${file} could not be written`)
}
