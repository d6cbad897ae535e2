import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { SetupError } from './failures.mjs'
import { installLock, installPinned } from './pip.mjs'
import { askProgram, runProgram } from './run-program.mjs'
import { hashOf, Stamp } from './stamp.mjs'

const sidecar = 'inference-sidecar'

/**
 * What the `infinitetalk` engine runs on. The lock brings everything but torch: one version of that
 * is another file on every kind of machine. pip takes the build that it knows of: a CPU build (a
 * folder in PIP_FIND_LINKS, an index in PIP_EXTRA_INDEX_URL) goes before the CUDA build of the same
 * version, and then needs nothing that the lock has not brought; no NVIDIA package is downloaded.
 */
export function engineExtra(/** @type {string} */ root) {
  return pythonExtra(root, {
    label: 'engine',
    name: 'torch, diffusers and transformers',
    cost: 'one to two minutes and 1.5 GB with a CPU build of torch; 6 GB more with the CUDA build',
    needsBytes: 2_500_000_000,
    lock: `${sidecar}/requirements-engine.lock`,
    pinned: 'torch',
    imports: 'torch, diffusers, transformers',
  })
}

/** What the imports of upstream's own code need beside the engine's packages. */
export function referenceExtra(/** @type {string} */ root) {
  return pythonExtra(root, {
    label: 'reference',
    name: "what upstream's own code imports",
    cost: 'half a minute and 500 MB beside the engine',
    needsBytes: 700_000_000,
    lock: `${sidecar}/requirements-reference.lock`,
    pinned: 'torch',
    imports: 'accelerate, librosa, optimum.quanto, skimage',
  })
}

/**
 * Triton, which interprets the GPU kernels for their tests where there is no GPU. The CUDA build of
 * torch brings the same version.
 */
export function kernelsExtra(/** @type {string} */ root) {
  return pythonExtra(root, {
    label: 'kernels',
    name: 'Triton, to test the GPU kernels on a CPU',
    cost: 'a quarter of a minute and 700 MB beside the engine',
    needsBytes: 1_000_000_000,
    pinned: 'triton',
    imports: 'triton',
  })
}

/**
 * Packages on top of the Python environment, which must be there before `install` is called.
 *
 * @param {string} root
 * @param {{ label: string, name: string, cost: string, needsBytes: number, lock?: string, pinned: string, imports: string }} extra
 */
function pythonExtra(root, { label, name, cost, needsBytes, lock, pinned, imports }) {
  const python = join(root, '.venv', 'bin', 'python')
  // Inside the environment: whoever deletes that deletes this too.
  const stamp = new Stamp(join(root, '.venv', `.setup-stamp-${label}`))
  const wanted = () =>
    hashOf(lock ? [join(root, lock)] : [], [pinOf(root, 'torch'), pinOf(root, pinned)])

  return {
    name,
    cost,
    needsBytes: () => (stamp.read() === '' ? needsBytes : 0),

    async isInPlace() {
      return existsSync(python) && stamp.read() === wanted()
    },

    async install() {
      stamp.remove()
      if (lock) await installLock(root, python, lock)
      await installPinned(root, python, pinOf(root, pinned))
      await runProgram(root, python, ['-c', `import ${imports}`])
      await refuseOtherTorch(root, python)
      stamp.write(wanted())
    },
  }
}

/** A build that was put there by hand satisfies pip only if its version is the pinned one. */
async function refuseOtherTorch(/** @type {string} */ root, /** @type {string} */ python) {
  const { stdout } = await askProgram(root, python, [
    '-c',
    'import torch; print(torch.__version__)',
  ])
  const [version] = stdout.trim().split('+')
  const pin = pinOf(root, 'torch')
  if (pin === `torch==${version}`) return
  throw new SetupError(
    `torch ${stdout.trim() || 'cannot be imported'}, although ${pin} was asked for`,
    'Delete .venv and run the same command again.',
  )
}

/** `NAME==X.Y.Z`, from the only place where it is written. */
function pinOf(/** @type {string} */ root, /** @type {string} */ name) {
  const pyproject = readFileSync(join(root, sidecar, 'pyproject.toml'), 'utf8')
  const pin = new RegExp(`"(${name}==[\\d.]+)"`).exec(pyproject)?.[1]
  if (pin) return pin
  throw new SetupError(
    `pyproject.toml pins no ${name}`,
    `Restore the line \`${name} = ["${name}==…"]\`.`,
  )
}
