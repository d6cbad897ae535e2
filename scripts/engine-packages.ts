import { spawnSync } from 'node:child_process'
import { join } from 'node:path'

/** The command that installs torch, diffusers and transformers into `.venv`. */
export const engineSetup = 'npm run setup -- --with engine'

/** Whether the packages of the `infinitetalk` engine are installed. torch stands for all of them. */
export function hasEnginePackages(root: string): boolean {
  const probe =
    'import sys; from importlib.util import find_spec; sys.exit(find_spec("torch") is None)'
  return spawnSync(join(root, '.venv/bin/python'), ['-c', probe]).status === 0
}
