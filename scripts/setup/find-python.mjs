import { SetupError } from './failures.mjs'
import { askProgram } from './run-program.mjs'

/** The first of these that is new enough is taken, unless PYTHON names another. */
const candidates = ['python3', 'python3.11', 'python3.12', 'python3.13']

/** The base interpreter (never another project's environment) that is new enough. */
export function findPython(/** @type {string} */ root) {
  const chosen = process.env.PYTHON
  let hasVenv = true
  for (const name of chosen ? [chosen] : candidates) {
    const probe = 'import sys; print(sys.version_info >= (3, 11), sys._base_executable)'
    const answer = askProgram(root, name, ['-c', probe])
    if (!answer?.startsWith('True')) continue
    const base = answer.trim().slice('True '.length)
    if (askProgram(root, base, ['-c', 'import venv, ensurepip']) !== undefined) return base
    hasVenv = false
  }
  if (!hasVenv) {
    throw new SetupError(
      'This Python cannot make virtual environments',
      'Install the module: `sudo apt install python3-venv` (Debian, Ubuntu).',
    )
  }
  throw new SetupError(
    chosen ? `PYTHON=${chosen} is no Python 3.11 or newer` : 'There is no Python 3.11 or newer',
    'Install one: `sudo apt install python3 python3-venv` (Debian 12, Ubuntu 24.04) or `brew install python@3.12`.',
  )
}
