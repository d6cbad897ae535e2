/**
 * Makes a fresh clone ready to run: Node 24 and the npm packages, the Python environment, the local
 * servers. Plain JavaScript without a dependency, because it runs before anything is installed, on
 * any Node from 20 on. Says nothing and takes a moment when everything is in place.
 *
 *   npm run setup
 *   npm run setup -- --with NAME,…     optional parts (see `optionalParts`)
 */
import { statfsSync } from 'node:fs'
import { join } from 'node:path'
import { SetupError } from './setup/failures.mjs'
import { takeLock } from './setup/lock.mjs'
import { nodePackages } from './setup/node-packages.mjs'
import { pythonEnvironment } from './setup/python-environment.mjs'

/**
 * @typedef {object} Part
 * @property {string} name what is installed, as the user reads it
 * @property {string} cost what it takes when nothing is cached
 * @property {() => Promise<boolean>} isInPlace quick: reads stamps, downloads nothing
 * @property {() => Promise<void>} install starts over if an earlier run was cut off
 */

const root = join(import.meta.dirname, '..')

/** What every command of this repository needs. @type {Part[]} */
const parts = [nodePackages(root), pythonEnvironment(root)]

/** What only some need, by the name that follows `--with`. @type {Record<string, Part>} */
const optionalParts = {}

const needsBytes = 2_000_000_000

async function main() {
  refuseUnsupported()
  const wanted = [...parts, ...askedFor(process.argv.slice(2))]
  if ((await missing(wanted)).length === 0) {
    if (process.env.npm_lifecycle_event === 'setup') say('Everything is in place.')
    return
  }

  const release = await takeLock(root, (pid) =>
    say(`Another set-up is running (process ${pid}); waiting for it.`),
  )
  try {
    await installAll(await missing(wanted))
  } finally {
    release()
  }
}

async function installAll(/** @type {Part[]} */ missingParts) {
  if (missingParts.length === 0) return
  refuseFullDisk(missingParts)
  const startedAt = Date.now()
  for (const part of missingParts) say(`Installing ${part.name} (${part.cost})`)
  // Both are waited for, also when one fails: a second run then has less to do.
  const outcomes = await Promise.allSettled(missingParts.map((part) => part.install()))
  const failures = outcomes.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
  if (failures.length > 0) throw new AggregateError(failures, 'Not everything could be installed.')
  say(`Ready after ${Math.round((Date.now() - startedAt) / 1000)} s.`)
}

async function missing(/** @type {Part[]} */ wanted) {
  const inPlace = await Promise.all(wanted.map((part) => part.isInPlace()))
  return wanted.filter((_, index) => !inPlace[index])
}

function askedFor(/** @type {string[]} */ args) {
  const at = args.indexOf('--with')
  const names = at < 0 ? [] : (args[at + 1] ?? '').split(',').filter(Boolean)
  return names.map((name) => {
    const part = optionalParts[name]
    if (part) return part
    const known = Object.keys(optionalParts).join(', ') || 'there is none yet'
    throw new SetupError(`There is no optional part "${name}"`, `Optional parts: ${known}.`)
  })
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
  if (missingParts.length < parts.length || bavail * bsize > needsBytes) return
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
