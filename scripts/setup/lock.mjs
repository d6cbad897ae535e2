import { linkSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { identityOf, isAlive, read } from './process-identity.mjs'
import { endPrograms } from './run-program.mjs'

/** @type {readonly (readonly [NodeJS.Signals, number])[]} */
const stopSignals = [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
]

/**
 * Waits until no other set-up works in this clone. The lock is a file that names its holder; one
 * whose holder is gone (killed, or the machine restarted) is taken over, and what the holder had
 * started is ended first: npm and pip go on without their parent.
 *
 * @param {string} root
 * @param {(pid: number) => void} onWait called once if there is something to wait for
 * @returns {Promise<() => void>} gives the lock back
 */
export async function takeLock(root, onWait) {
  const path = join(root, '.setup.lock')
  const claim = identityOf(process.pid)
  let hasWaited = false
  while (!linkWhole(path, claim)) {
    const holder = read(path)
    if (!isAlive(holder)) {
      discard(path, holder)
      continue
    }
    if (!hasWaited) onWait(Number.parseInt(holder, 10))
    hasWaited = true
    await sleep(200)
  }
  endPrograms(root)

  const release = () => {
    if (read(path) === claim) rmSync(path, { force: true })
  }
  for (const [signal, code] of stopSignals) {
    process.once(signal, () => {
      endPrograms(root)
      release()
      process.exit(code)
    })
  }
  return release
}

/** A link appears whole or not at all, so that no reader sees a lock without a holder in it. */
function linkWhole(/** @type {string} */ path, /** @type {string} */ claim) {
  const draft = `${path}.${process.pid}`
  try {
    writeFileSync(draft, claim)
    linkSync(draft, path)
    return true
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EEXIST') return false
    throw error
  } finally {
    rmSync(draft, { force: true })
  }
}

/** Moves a dead lock away, and puts it back if a living one took its place in between. */
function discard(/** @type {string} */ path, /** @type {string} */ dead) {
  const aside = `${path}.dead.${process.pid}`
  try {
    renameSync(path, aside)
    if (read(aside) !== dead) linkSync(aside, path)
  } catch {
    // Another waiting set-up was faster; the next turn sees what it left.
  } finally {
    rmSync(aside, { force: true })
  }
}
