import { join } from 'node:path'
import { Stamp } from './stamp.mjs'

/**
 * The optional parts that were ever asked for in this clone. They belong to it from then on: a later
 * set-up that does not name them keeps them up to date, also when it has to make the environment anew.
 * Delete the file and `.venv` to be rid of them.
 */
export class ChosenExtras {
  constructor(/** @type {string} */ root) {
    this.file = new Stamp(join(root, '.setup.with'))
  }

  names() {
    return this.file.read().split('\n').filter(Boolean)
  }

  add(/** @type {readonly string[]} */ names) {
    const all = new Set([...this.names(), ...names])
    if (all.size > this.names().length) this.file.write(`${[...all].sort().join('\n')}\n`)
  }
}
