import { createHash } from 'node:crypto'
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'

/** One hash over the content of several files, in their order; a missing file counts as empty. */
export function hashOf(
  /** @type {readonly string[]} */ paths,
  /** @type {readonly string[]} */ extra = [],
) {
  const hash = createHash('sha256')
  for (const path of paths) {
    const content = readIfThere(path)
    hash.update(`${content.length} `).update(content)
  }
  for (const text of extra) hash.update(`${text.length} ${text}`)
  return hash.digest('hex')
}

/**
 * Says that a part was installed completely, from which inputs. It is taken away before an
 * installation begins and written after it ends: none there means that a run was cut off.
 */
export class Stamp {
  constructor(/** @type {string} */ path) {
    this.path = path
  }

  read() {
    return readIfThere(this.path).toString('utf8')
  }

  write(/** @type {string} */ hash) {
    writeFileSync(`${this.path}.new`, hash)
    renameSync(`${this.path}.new`, this.path)
  }

  remove() {
    rmSync(this.path, { force: true })
  }
}

function readIfThere(/** @type {string} */ path) {
  try {
    return readFileSync(path)
  } catch {
    return Buffer.alloc(0)
  }
}
