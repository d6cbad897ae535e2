import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { SetupError } from './failures.mjs'
import { installFolder, installLock } from './pip.mjs'
import { askProgram, runProgram } from './run-program.mjs'
import { hashOf, Stamp } from './stamp.mjs'

const sidecar = 'inference-sidecar'
const lock = `${sidecar}/requirements.lock`

/** Newest last: the first of these that is good enough is taken, unless PYTHON names another. */
const candidates = ['python3', 'python3.11', 'python3.12', 'python3.13']

/** The Python environment with pinned, hashed packages: sidecar, engines, ffmpeg, local servers. */
export function pythonEnvironment(/** @type {string} */ root) {
  const home = join(root, '.venv')
  const python = join(home, 'bin', 'python')
  const stamp = new Stamp(join(home, '.setup-stamp'))

  // The folder counts: the programs in it carry its absolute path in their first line.
  const wanted = async () =>
    hashOf(
      [join(root, lock), join(root, sidecar, 'pyproject.toml')],
      [root, await versionOf(root, python)],
    )

  return {
    name: 'the Python environment with ffmpeg, NATS and the S3 server',
    cost: 'from nothing about a minute and 900 MB',
    needsBytes: () => (existsSync(home) ? 0 : 1_300_000_000),

    async isInPlace() {
      return existsSync(python) && stamp.read() !== '' && stamp.read() === (await wanted())
    },

    async install() {
      // Without a stamp nobody knows what a run that was cut off has left: start over.
      const canKeep = stamp.read() !== '' && (await versionOf(root, python)) !== ''
      stamp.remove()
      if (!canKeep) {
        rmSync(home, { recursive: true, force: true })
        await runProgram(root, await findPython(root), ['-m', 'venv', home])
      }
      await installLock(root, python, lock)
      await installFolder(root, python, sidecar)
      await runProgram(root, python, ['-c', 'import inference_sidecar'])
      stamp.write(await wanted())
    },
  }
}

/** The base interpreter (never another project's environment) that is new enough. */
async function findPython(/** @type {string} */ root) {
  const chosen = process.env.PYTHON
  let hasPip = true
  for (const name of chosen ? [chosen] : candidates) {
    const probe = 'import sys; print(sys.version_info >= (3, 11), sys._base_executable)'
    const { code, stdout } = await askProgram(root, name, ['-c', probe])
    if (code !== 0 || !stdout.startsWith('True')) continue
    const base = stdout.trim().slice('True '.length)
    const { code: cannotMakeOne } = await askProgram(root, base, ['-c', 'import venv, ensurepip'])
    if (cannotMakeOne === 0) return base
    hasPip = false
  }
  if (!hasPip) {
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

/** Empty when the environment is broken, for instance because its interpreter is gone. */
async function versionOf(/** @type {string} */ root, /** @type {string} */ python) {
  const { code, stdout } = await askProgram(root, python, ['-c', 'import sys; print(sys.version)'])
  return code === 0 ? stdout.trim() : ''
}
