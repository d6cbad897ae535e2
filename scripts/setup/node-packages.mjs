import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { SetupError } from './failures.mjs'
import { askProgram } from './run-program.mjs'

/**
 * The npm packages exactly as the lockfile has them, Node 24 among them.
 *
 * @param {string} root
 * @returns {import('../setup.mjs').Part}
 */
export function nodePackages(root) {
  const node = join(root, 'node_modules/.bin/node')
  return {
    name: 'Node 24 and the npm packages',
    cost: 'from nothing one to two minutes and 500 MB',
    needsBytes: () => (existsSync(join(root, 'node_modules')) ? 0 : 700_000_000),

    isInPlace: () => existsSync(node) && isLockInstalled(root),

    async install(run) {
      // Node 20 may run this: `engine-strict` would stop at packages that ask for Node 22. Install
      // scripts stay on because Node 24 arrives by one.
      await run('npm', [
        ...['ci', '--loglevel=error', '--engine-strict=false', '--ignore-scripts=false'],
        ...['--include=dev', '--no-audit', '--no-fund'],
      ])
      if (askProgram(root, node, ['--version'])?.startsWith('v24.')) return
      throw new SetupError(
        'npm finished, but there is no Node 24 in node_modules',
        'Does your npm configuration forbid install scripts or optional packages? See `npm config ls`.',
      )
    },
  }
}

/**
 * npm itself keeps the record: `npm ci` removes `node_modules/.package-lock.json` first and writes it
 * last, in the lockfile's own words. What somebody installed with `npm install` counts too.
 */
function isLockInstalled(/** @type {string} */ root) {
  try {
    const wanted = packagesIn(join(root, 'package-lock.json'))
    const installed = packagesIn(join(root, 'node_modules/.package-lock.json'))
    const isComplete = Object.entries(wanted).every(
      ([path, entry]) => path === '' || entry.optional || isDeepStrictEqual(entry, installed[path]),
    )
    const isOfThisMachine = Object.values(installed).every(
      ({ os = [process.platform], cpu = [process.arch] }) =>
        os.includes(process.platform) && cpu.includes(process.arch),
    )
    return isComplete && isOfThisMachine
  } catch {
    return false // One of them is missing or no JSON: npm then says what is wrong with ours.
  }
}

/**
 * @param {string} lockfile
 * @returns {Record<string, { optional?: boolean, os?: string[], cpu?: string[] }>}
 */
function packagesIn(lockfile) {
  return JSON.parse(readFileSync(lockfile, 'utf8')).packages
}
