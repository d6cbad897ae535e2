import { createHash } from 'node:crypto'
import { existsSync, readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SetupError } from './failures.mjs'
import { findPython } from './find-python.mjs'
import { readIfThere } from './process-identity.mjs'
import { askProgram } from './run-program.mjs'

const sidecar = 'inference-sidecar'
const pip = ['-m', 'pip', 'install', '--quiet', '--no-input', '--disable-pip-version-check']

/** Wheels only: nothing is compiled here, and no package's own code runs during the installation. */
const wheels = ['--only-binary', ':all:']

/**
 * @typedef {object} Packages
 * @property {string} name what is installed, as the user reads it
 * @property {string} cost what it takes when nothing is cached
 * @property {number} bytes on the disk
 * @property {string} [lock] every file by its hash
 * @property {string} [pinned] a package that no lock has; its version is in pyproject.toml
 * @property {string} imports what can be imported afterwards
 */

/** The sidecar with the engines that need no GPU, ffmpeg and the servers for one machine. @type {Packages} */
const environment = {
  name: 'the Python environment with ffmpeg, NATS and the S3 server',
  cost: 'from nothing about a minute and 900 MB',
  bytes: 1_300_000_000,
  lock: `${sidecar}/requirements.lock`,
  imports: 'inference_sidecar',
}

/**
 * What the `infinitetalk` engine runs on. The lock brings everything but torch: one version of that
 * is another file on every kind of machine. pip takes the build that it knows of: a CPU build (a
 * folder in PIP_FIND_LINKS, an index in PIP_EXTRA_INDEX_URL) goes before the CUDA build of the same
 * version, and needs nothing that the lock has not brought; no NVIDIA package is downloaded then.
 *
 * @type {Packages}
 */
const engine = {
  name: 'torch, diffusers and transformers',
  cost: 'one to two minutes and 1.5 GB with a CPU build of torch; 6 GB more with the CUDA build',
  bytes: 2_500_000_000,
  lock: `${sidecar}/requirements-engine.lock`,
  pinned: 'torch',
  imports: 'torch, diffusers, transformers',
}

/** Triton interprets the GPU kernels in their tests. The CUDA build of torch brings it. @type {Packages} */
const kernels = {
  name: 'Triton, to test the GPU kernels on a CPU',
  cost: 'a quarter of a minute and 700 MB beside the engine',
  bytes: 1_000_000_000,
  pinned: 'triton',
  imports: 'triton',
}

/** @type {Packages} */
const reference = {
  name: "what upstream's own code imports",
  cost: 'half a minute and 500 MB beside the engine',
  bytes: 700_000_000,
  lock: `${sidecar}/requirements-reference.lock`,
  pinned: 'torch',
  imports: 'accelerate, librosa, optimum.quanto, skimage',
}

/** What an endpoint of RunPod runs beside the sidecar. @type {Packages} */
const runpod = {
  name: "RunPod's worker loop",
  cost: 'a quarter of a minute and 250 MB',
  bytes: 350_000_000,
  lock: `${sidecar}/requirements-runpod.lock`,
  imports: 'runpod',
}

/** What reads the files for Kubernetes and GitHub as they do, without either. @type {Packages} */
const deploy = {
  name: 'kubectl and the checks of the deployment files',
  cost: 'a minute and 190 MB',
  bytes: 250_000_000,
  lock: `${sidecar}/requirements-deploy.lock`,
  imports: 'kubernetes_validate, check_jsonschema',
}

/** What only some commands need, by the name that follows `--with`. @type {Record<string, Packages[]>} */
export const extras = {
  engine: [engine],
  kernels: [engine, kernels],
  reference: [engine, reference],
  runpod: [runpod],
  deploy: [deploy],
}

/**
 * What goes into `.venv`, in the order in which it must be installed. pip changes one environment at
 * a time, so that the parts follow each other.
 *
 * @param {string} root
 * @param {readonly string[]} names of extras
 */
export function pythonPackages(root, names) {
  const wanted = new Set([environment, ...names.flatMap((name) => extras[name] ?? [])])
  return [...wanted].map((packages) => pythonPart(root, packages))
}

/**
 * A stamp in the environment says that a part was installed completely, where, and from which files.
 * It is removed before pip begins and written after pip has ended.
 *
 * @param {string} root
 * @param {Packages} packages
 * @returns {import('../setup.mjs').Part}
 */
function pythonPart(root, packages) {
  const { name, cost, bytes, lock, pinned, imports } = packages
  const home = join(root, '.venv')
  const python = join(home, 'bin/python')
  const stamp = join(home, `.installed-${imports.replaceAll(/\W+/g, '-')}`)
  const pyproject = readFileSync(join(root, sidecar, 'pyproject.toml'), 'utf8')
  const locked = lock ? readFileSync(join(root, lock), 'utf8') : ''
  const wanted = () => {
    // Programs in the environment carry its path in their first line; another Python looks in another folder.
    const place = `${home} ${existsSync(python) && realpathSync(python)}`
    const hash = createHash('sha256').update(`${locked.length} ${locked}${pyproject}`)
    return `${place}\n${hash.digest('hex')}\n`
  }

  return {
    name,
    cost,
    needsBytes: () => (existsSync(stamp) ? 0 : bytes),
    isInPlace: () => existsSync(python) && readIfThere(stamp) === wanted(),

    async install(run) {
      const before = readIfThere(stamp)
      rmSync(stamp, { force: true })
      // Without a stamp nobody knows what a run that was cut off has left.
      const isSamePlace = before.split('\n')[0] === wanted().split('\n')[0]
      const canKeep = isSamePlace && askProgram(root, python, ['--version']) !== undefined
      if (packages === environment && !canKeep) {
        rmSync(home, { recursive: true, force: true })
        await run(findPython(root), ['-m', 'venv', home])
      }
      if (lock) await run(python, [...pip, '--no-deps', ...wheels, '--require-hashes', '-r', lock])
      if (pinned) await run(python, [...pip, ...wheels, pinOf(pyproject, pinned)])
      if (packages === environment) {
        // Editable: the environment runs what lies in the folder.
        await run(python, [...pip, '--no-deps', '--no-build-isolation', '-e', sidecar])
      }
      await run(python, ['-c', `import ${imports}`])
      writeFileSync(`${stamp}.new`, wanted())
      renameSync(`${stamp}.new`, stamp)
    },
  }
}

/** `NAME==X.Y.Z`, from the only place where it is written. */
function pinOf(/** @type {string} */ pyproject, /** @type {string} */ name) {
  const pin = new RegExp(`"(${name}==[\\d.]+)"`).exec(pyproject)?.[1]
  if (pin) return pin
  throw new SetupError(
    `pyproject.toml pins no ${name}`,
    `Restore the line \`${name} = ["${name}==…"]\`.`,
  )
}
