import { runProgram } from './run-program.mjs'

const install = ['-m', 'pip', 'install', '--quiet', '--no-input', '--disable-pip-version-check']

/** Installs exactly what a lock says: every file by its hash, nothing that is not in it. */
export function installLock(
  /** @type {string} */ root,
  /** @type {string} */ python,
  /** @type {string} */ lock,
) {
  const exactly = ['--no-deps', '--only-binary', ':all:', '--require-hashes']
  return runProgram(root, python, [...install, ...exactly, '-r', lock])
}

/** Installs our own package so that the environment runs what lies in the folder. */
export function installFolder(
  /** @type {string} */ root,
  /** @type {string} */ python,
  /** @type {string} */ folder,
) {
  return runProgram(root, python, [...install, '--no-deps', '--no-build-isolation', '-e', folder])
}

/** Installs one package with whatever it still lacks; what a lock has brought already satisfies it. */
export function installPinned(
  /** @type {string} */ root,
  /** @type {string} */ python,
  /** @type {string} */ requirement,
) {
  return runProgram(root, python, [...install, '--only-binary', ':all:', requirement])
}
