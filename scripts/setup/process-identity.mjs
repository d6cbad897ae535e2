import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** "PID START": tells a process from a later one that got the same number. */
export function identityOf(/** @type {number} */ pid) {
  return `${pid} ${startOf(pid)}`
}

/** Whether exactly that process still runs. */
export function isAlive(/** @type {string} */ identity) {
  const pid = Number.parseInt(identity, 10)
  return pid > 0 && startOf(pid) !== '' && identityOf(pid) === identity
}

/** The content of a small file, empty if it is not there. */
export function read(/** @type {string} */ path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** Empty if there is no such process. Field 22 of /proc/PID/stat; the name before may hold spaces. */
function startOf(/** @type {number} */ pid) {
  if (process.platform === 'linux') {
    return read(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ')[19] ?? ''
  }
  try {
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim()
  } catch {
    return ''
  }
}
