/**
 * Makes a fresh clone ready to run: Node 24 and the npm packages, the Python environment, the local
 * servers. Plain JavaScript without a dependency, because it runs before anything is installed, on
 * any Node from 20 on. Prints nothing and takes a moment when everything is in place.
 *
 *   npm run setup
 *   npm run setup -- --with engine     also torch, diffusers and transformers
 *   npm run setup -- --with kernels    also Triton, for the tests of the GPU kernels (and the engine)
 *   npm run setup -- --with reference  also what upstream's own code imports (and the engine)
 *   npm run setup -- --with runpod     also RunPod's worker loop, for the tests of a worker on its endpoints
 *   npm run setup -- --with deploy     also kubectl and what checks the deployment files
 *   npm run setup -- --with monitoring also Prometheus, Alertmanager and their tools
 *
 * A part that was added once stays: names add up over several runs.
 */
import { statfsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { ChosenExtras } from './setup/chosen-extras.mjs'
import { SetupError } from './setup/failures.mjs'
import { takeLock } from './setup/lock.mjs'
import { monitoringTools } from './setup/monitoring-tools.mjs'
import { nodePackages } from './setup/node-packages.mjs'
import { extras, pythonPackages } from './setup/python-packages.mjs'
import { programRunner } from './setup/run-program.mjs'

/**
 * @typedef {object} Part
 * @property {string} name what is installed, as the user reads it
 * @property {string} cost what it takes when nothing is cached
 * @property {() => number} needsBytes on the disk, 0 where much of it lies there already
 * @property {() => boolean} isInPlace quick: reads a few files
 * @property {(run: import('./setup/run-program.mjs').Run) => Promise<void>} install
 */

/** Not import.meta.dirname: a Node that is too old must get as far as the sentence that says so. */
const root = fileURLToPath(new URL('..', import.meta.url))

/** What follows `--with`. */
const optionalParts = [...Object.keys(extras), 'monitoring']

async function main() {
  refuseUnsupported()
  const chosen = new ChosenExtras(root)
  const names = [
    ...chosen.names().filter((name) => optionalParts.includes(name)),
    ...namesAskedFor(),
  ]
  // Side by side; within a lane one part follows the other.
  const monitoring = names.includes('monitoring') ? [monitoringTools(root)] : []
  const lanes = [[nodePackages(root)], pythonPackages(root, names), monitoring]
  if (missing(lanes.flat()).length === 0) {
    chosen.add(names)
    if (process.env.npm_lifecycle_event === 'setup') say('Everything is in place.')
    return
  }

  const lock = await takeLock(root, (pid) =>
    say(`Another set-up is running (process ${pid}); waiting for it.`),
  )
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.once(signal, (_name, number) => {
      lock.release()
      process.exit(128 + number)
    })
  }
  try {
    await installAll(lanes, programRunner(root, lock.noteProgram))
    chosen.add(names)
  } finally {
    lock.release()
  }
}

/**
 * @param {Part[][]} lanes
 * @param {import('./setup/run-program.mjs').Run} run
 */
async function installAll(lanes, run) {
  const startedAt = Date.now()
  const wanted = missing(lanes.flat())
  if (wanted.length === 0) return // Another set-up did it while this one waited for the lock.
  refuseFullDisk(wanted)
  // Each lane goes to its end, also when another one fails: the next run then has less to do.
  const outcomes = await Promise.allSettled(lanes.map((lane) => installLane(lane, run)))
  const failures = outcomes.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
  if (failures.length > 0) throw new AggregateError(failures, 'Not everything could be installed.')
  say(`Ready after ${Math.round((Date.now() - startedAt) / 1000)} s.`)
}

/**
 * @param {Part[]} lane
 * @param {import('./setup/run-program.mjs').Run} run
 */
async function installLane(lane, run) {
  for (const part of lane) {
    // Asked anew each time: an environment that was made again has lost its extras.
    if (part.isInPlace()) continue
    say(`Installing ${part.name} (${part.cost})`)
    await part.install(run)
  }
}

function missing(/** @type {Part[]} */ parts) {
  return parts.filter((part) => !part.isInPlace())
}

function namesAskedFor() {
  const options = { with: { type: /** @type {const} */ ('string'), multiple: true } }
  const { values } = parseArgs({ options, strict: false })
  // `--with` as the last word arrives as `true`.
  const given = [values.with ?? []].flat().map((value) => (value === true ? '' : String(value)))
  const names = given.flatMap((value) => value.split(','))
  for (const name of names) {
    if (optionalParts.includes(name)) continue
    const known = optionalParts.join(', ')
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

function refuseFullDisk(/** @type {Part[]} */ parts) {
  const { bavail, bsize } = statfsSync(root)
  const needsBytes = parts.reduce((sum, part) => sum + part.needsBytes(), 0)
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
