import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** "PID START": tells a process from a later one with the same number. START is empty if there is none. */
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

/** Fields 3 and 22 of /proc/PID/stat: state and start. The name before them may hold spaces and brackets. */
function startOf(/** @type {number} */ pid) {
  if (process.platform === 'linux') {
    const fields = readIfThere(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ') ?? []
    return fields[0] === 'Z' ? '' : (fields[19] ?? '')
  }
  try {
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim()
  } catch {
    return ''
  }
}
