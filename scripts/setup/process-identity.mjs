import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** "PID START": tells a process from a later one with the same number; START is empty if it has ended. */
export function identityOf(/** @type {number} */ pid) {
  return `${pid} ${startOf(pid)}`
}

/** Whether exactly that process still runs. */
export function isAlive(/** @type {string} */ identity) {
  const pid = Number.parseInt(identity, 10)
  return pid > 0 && startOf(pid) !== '' && identityOf(pid) === identity
}

/** The content of a small file, empty if it is not there. */
export function readIfThere(/** @type {string} */ path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/**
 * The fields of /proc/PID/stat (see proc(5)) from the third on, which is the state; empty if there is no
 * such process. The second is a name that may hold spaces and brackets.
 */
export function statOf(/** @type {number} */ pid) {
  const stat = readIfThere(`/proc/${pid}/stat`)
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}

function startOf(/** @type {number} */ pid) {
  if (process.platform === 'linux') {
    const stat = statOf(pid)
    // A zombie has ended; its parent has not noticed yet.
    return stat[0] === 'Z' ? '' : (stat[19] ?? '')
  }
  try {
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim()
  } catch {
    return ''
  }
}
