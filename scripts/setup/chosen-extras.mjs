import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readIfThere } from './process-identity.mjs'

/**
 * The optional parts that were ever asked for in this clone. A later set-up keeps them up to date
 * without being told, also when it has to make the environment anew. To be rid of them, delete the
 * file and `.venv`.
 */
export class ChosenExtras {
  constructor(/** @type {string} */ root) {
    this.path = join(root, '.setup.with')
  }

  names() {
    return readIfThere(this.path).split('\n').filter(Boolean)
  }

  add(/** @type {readonly string[]} */ names) {
    const all = new Set([...this.names(), ...names])
    if (all.size > this.names().length) writeFileSync(this.path, `${[...all].sort().join('\n')}\n`)
  }
}
