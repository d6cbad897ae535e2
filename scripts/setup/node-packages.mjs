import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { SetupError } from './failures.mjs'
import { askProgram, runProgram } from './run-program.mjs'
import { hashOf, Stamp } from './stamp.mjs'

/** The npm packages exactly as the lockfile has them, Node 24 among them. */
export function nodePackages(/** @type {string} */ root) {
  const stamp = new Stamp(join(root, 'node_modules', '.setup-stamp'))
  const node = join(root, 'node_modules', '.bin', 'node')

  const wanted = () =>
    hashOf(
      ['package-lock.json', ...manifests(root)].map((file) => join(root, file)),
      [process.platform, process.arch],
    )

  return {
    name: 'Node 24 and the npm packages',
    cost: 'from nothing one to two minutes and 500 MB',
    needsBytes: () => (existsSync(join(root, 'node_modules')) ? 0 : 700_000_000),

    async isInPlace() {
      if (!existsSync(node)) return false
      if (stamp.read() === wanted()) return true
      // Whoever just ran `npm install` has what we would install.
      if (!(await isInstalledByHand(root, node))) return false
      stamp.write(wanted())
      return true
    },

    async install() {
      stamp.remove()
      // Node 20 may run this: `engine-strict` would stop at packages that ask for Node 22. Install
      // scripts stay on because Node 24 arrives by one.
      await runProgram(root, 'npm', [
        'ci',
        '--loglevel=error',
        '--engine-strict=false',
        '--ignore-scripts=false',
        '--include=dev',
        '--no-audit',
        '--no-fund',
      ])
      const { code, stdout } = await askProgram(root, node, ['--version'])
      if (code !== 0 || !stdout.startsWith('v24.')) {
        throw new SetupError(
          'npm finished, but there is no Node 24 in node_modules',
          'Does your npm configuration forbid install scripts or optional packages? See `npm config ls`.',
        )
      }
      stamp.write(wanted())
    },
  }
}

/** Every package.json of ours: a new command in one of them needs a new link in node_modules. */
function manifests(/** @type {string} */ root) {
  const { workspaces } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  return workspaces.map((/** @type {string} */ folder) => `${folder}/package.json`)
}

/** npm writes this file last; it lists what lies in node_modules in the lockfile's own words. */
async function isInstalledByHand(/** @type {string} */ root, /** @type {string} */ node) {
  const [lock, installed] = ['package-lock.json', 'node_modules/.package-lock.json'].map((file) => {
    try {
      return JSON.parse(readFileSync(join(root, file), 'utf8')).packages
    } catch {
      return undefined
    }
  })
  if (!lock || !installed) return false
  const isThere = Object.entries(lock).every(([path, entry]) => {
    if (path === '' || entry.optional || entry.peer) return true
    return (
      entry.version === installed[path]?.version && entry.integrity === installed[path]?.integrity
    )
  })
  const { stdout } = await askProgram(root, node, ['--version'])
  return isThere && stdout.startsWith('v24.')
}
