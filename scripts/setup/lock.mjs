import {
  closeSync,
  linkSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { identityOf, isAlive, readIfThere } from './process-identity.mjs'

/**
 * Waits until no other set-up works in this clone. The lock is a file: the first line names its
 * holder, each line after it a program that the holder started. A lock whose holder is dead is taken
 * over once its programs have ended, which are killed: npm and pip go on without their parent.
 *
 * @param {string} root
 * @param {(pid: number) => void} onWait called once if another set-up holds the lock
 */
export async function takeLock(root, onWait) {
  const path = join(root, '.setup.lock')
  const claim = `${identityOf(process.pid)}\n`
  let hasWaited = false
  for (;;) {
    const file = create(path, claim)
    if (file !== undefined) return heldLock(path, claim, file)
    const found = readIfThere(path)
    const [holder = ''] = found.split('\n')
    const isHeld = isAlive(holder)
    if (!isHeld && !endPrograms(found)) {
      discard(path, found)
      continue
    }
    if (isHeld && !hasWaited) onWait(Number.parseInt(holder, 10))
    hasWaited ||= isHeld
    await sleep(200)
  }
}

/**
 * @param {string} path
 * @param {string} claim
 * @param {number} file stays open, so that a line reaches the lock even while `discard` has it aside
 */
function heldLock(path, claim, file) {
  return {
    /** Whoever takes the lock after this process was killed ends that program too. */
    noteProgram(/** @type {number} */ pid) {
      writeSync(file, `${identityOf(pid)}\n`)
    },
    /** Ends what still runs and gives the lock back. */
    release() {
      const content = readIfThere(path)
      if (!content.startsWith(claim)) return
      endPrograms(content)
      rmSync(path, { force: true })
      closeSync(file)
    },
  }
}

/** Kills the programs that a lock names, each with its process group; true if there were any alive. */
function endPrograms(/** @type {string} */ content) {
  const alive = content.split('\n').slice(1).filter(isAlive)
  for (const identity of alive) {
    try {
      process.kill(-Number.parseInt(identity, 10), 'SIGKILL')
    } catch {
      // It ended by itself between the look and the signal.
    }
  }
  return alive.length > 0
}

/** The new lock, open for more lines. A link appears whole or not at all, never without a holder. */
function create(/** @type {string} */ path, /** @type {string} */ claim) {
  const draft = `${path}.${process.pid}`
  try {
    writeFileSync(draft, claim)
    linkSync(draft, path)
    return openSync(draft, 'a')
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EEXIST') return undefined
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
    if (readIfThere(aside) !== dead) linkSync(aside, path)
  } catch {
    // Another waiting set-up was faster; the next turn sees what it left.
  } finally {
    rmSync(aside, { force: true })
  }
}
