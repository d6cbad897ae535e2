/**
 * Makes a fresh clone ready to run: Node 24 and the npm packages, the Python environment, the local
 * servers. Plain JavaScript without a dependency, because it runs before anything is installed, on
 * any Node from 20 on. Says nothing and takes a moment when everything is in place.
 *
 *   npm run setup
 *   npm run setup -- --with engine     also torch, diffusers and transformers
 *   npm run setup -- --with kernels    also Triton, for the tests of the GPU kernels (and the engine)
 *   npm run setup -- --with reference  also what upstream's own code imports (and the engine)
 *
 * What was added once stays: names add up over several runs.
 */
import { statfsSync } from 'node:fs'
import { join } from 'node:path'
import { ChosenExtras } from './setup/chosen-extras.mjs'
import { SetupError } from './setup/failures.mjs'
import { takeLock } from './setup/lock.mjs'
import { nodePackages } from './setup/node-packages.mjs'
import { pythonEnvironment } from './setup/python-environment.mjs'
import { engineExtra, kernelsExtra, referenceExtra } from './setup/python-extras.mjs'

/**
 * @typedef {object} Part
 * @property {string} name what is installed, as the user reads it
 * @property {string} cost what it takes when nothing is cached
 * @property {() => number} needsBytes on the disk, 0 where much of it lies there already
 * @property {() => Promise<boolean>} isInPlace quick: reads stamps, downloads nothing
 * @property {() => Promise<void>} install starts over if an earlier run was cut off
 */

const root = join(import.meta.dirname, '..')

/** What every command of this repository needs. @type {Part[]} */
const parts = [nodePackages(root), pythonEnvironment(root)]

/** What only some need, by the name that follows `--with`. @type {Record<string, Part[]>} */
const optionalParts = {
  engine: [engineExtra(root)],
  kernels: [engineExtra(root), kernelsExtra(root)],
  reference: [engineExtra(root), referenceExtra(root)],
}

async function main() {
  refuseUnsupported()
  const chosen = new ChosenExtras(root)
  const names = [...chosen.names().filter((name) => optionalParts[name]), ...namesAskedFor()]
  const stages = [parts, ...stagesOf(names)]
  if ((await missing(stages.flat())).length === 0) {
    chosen.add(names)
    if (process.env.npm_lifecycle_event === 'setup') say('Everything is in place.')
    return
  }

  const release = await takeLock(root, (pid) =>
    say(`Another set-up is running (process ${pid}); waiting for it.`),
  )
  try {
    await installAll(stages)
    chosen.add(names)
  } finally {
    release()
  }
}

/** One stage after the other: what is in place can change when an earlier one starts anew. */
async function installAll(/** @type {Part[][]} */ stages) {
  const startedAt = Date.now()
  let installed = 0
  for (const stage of stages) {
    const parts = await missing(stage)
    if (parts.length === 0) continue
    refuseFullDisk(parts)
    installed += parts.length
    await installStage(parts)
  }
  if (installed > 0) say(`Ready after ${Math.round((Date.now() - startedAt) / 1000)} s.`)
}

async function installStage(/** @type {Part[]} */ missingParts) {
  for (const part of missingParts) say(`Installing ${part.name} (${part.cost})`)
  // All are waited for, also when one fails: a second run then has less to do.
  const outcomes = await Promise.allSettled(missingParts.map((part) => part.install()))
  const failures = outcomes.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
  if (failures.length > 0) throw new AggregateError(failures, 'Not everything could be installed.')
}

async function missing(/** @type {Part[]} */ wanted) {
  const inPlace = await Promise.all(wanted.map((part) => part.isInPlace()))
  return wanted.filter((_, index) => !inPlace[index])
}

/** pip changes one environment at a time, so that each optional part is a stage of its own. */
function stagesOf(/** @type {readonly string[]} */ names) {
  const wanted = names.flatMap((name) => optionalParts[name] ?? [])
  const byName = new Map(wanted.map((part) => [part.name, part]))
  return [...byName.values()].map((part) => [part])
}

function namesAskedFor() {
  const args = process.argv.slice(2)
  const names = args.flatMap((arg, at) => {
    if (arg.startsWith('--with=')) return arg.slice('--with='.length).split(',')
    return arg === '--with' ? (args[at + 1] ?? '').split(',') : []
  })
  for (const name of names) {
    if (optionalParts[name]) continue
    const known = Object.keys(optionalParts).join(', ')
    throw new SetupError(`There is no optional part "${name}"`, `Optional parts: ${known}.`)
  }
  return names
}

function refuseUnsupported() {
  const [major = 0] = process.versions.node.split('.').map(Number)
  if (major < 20) {
    throw new SetupError(
      `Node ${process.versions.node} is too old`,
      'Install Node 20 or newer (Node 24 for this project then comes with its packages).',
    )
  }
  if (!['linux', 'darwin'].includes(process.platform) || !['x64', 'arm64'].includes(process.arch)) {
    throw new SetupError(
      `${process.platform} on ${process.arch} is not supported`,
      'Use Linux or macOS on x64 or arm64; on Windows, run it inside WSL 2.',
    )
  }
}

function refuseFullDisk(/** @type {Part[]} */ missingParts) {
  const { bavail, bsize } = statfsSync(root)
  const needsBytes = missingParts.reduce((sum, part) => sum + part.needsBytes(), 0)
  if (bavail * bsize >= needsBytes) return
  throw new SetupError(
    `Only ${Math.round((bavail * bsize) / 1e6)} MB are free on this disk`,
    `Set-up needs about ${needsBytes / 1e9} GB: make room, then run the same command again.`,
  )
}

function say(/** @type {string} */ line) {
  process.stderr.write(`setup: ${line}\n`)
}

main().catch((error) => {
  for (const one of error instanceof AggregateError ? error.errors : [error]) {
    if (!(one instanceof SetupError)) {
      process.stderr.write(`setup: failed unexpectedly\n${one?.stack ?? one}\n`)
      continue
    }
    if (one.output) process.stderr.write(`${one.output}\n`)
    process.stderr.write(`\nsetup: ${one.message}\n       ${one.remedy}\n`)
  }
  process.exitCode = 1
})
