/** Set-up cannot go on; `remedy` is the one thing that the user can do about it. */
export class SetupError extends Error {
  /** @override */
  name = 'SetupError'

  /**
   * @param {string} message what is wrong
   * @param {string} remedy what to do, as a sentence
   * @param {string} [output] the end of what the failed program printed
   */
  constructor(message, remedy, output = '') {
    super(message)
    this.remedy = remedy
    this.output = output
  }
}

/**
 * What npm and pip print when the cause is outside this repository, and what helps. They exit with 1
 * for all of these, so that only their text tells them apart.
 */
const knownCauses = [
  {
    pattern: /ENOSPC|No space left on device/i,
    message: 'The disk is full',
    remedy:
      'Set-up needs about 2 GB (the engine 2 GB more, with a CUDA build of torch 8 GB): make room, then run the same command again.',
  },
  {
    pattern: /DO NOT MATCH THE HASHES|EINTEGRITY/,
    message: 'A downloaded package is not the one that was pinned',
    remedy:
      'Clear the cache (`npm cache clean --force`, `pip cache purge`) and try again; if it stays, do not install it.',
  },
  {
    pattern:
      /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|E40[137]|E50\d|name resolution|NewConnectionError|ReadTimeout|ProxyError|Max retries/i,
    message: 'The package registry did not answer',
    remedy:
      'Check the network and the proxy settings of npm and pip, then run the same command again.',
  },
  {
    pattern: /EUSAGE|can only install packages when your package.json and package-lock.json/,
    message: 'package.json and package-lock.json do not agree',
    remedy: 'Run `npm install` with Node 24 and commit the lockfile.',
  },
  {
    pattern: /EACCES|EPERM|Permission denied/i,
    message: 'This folder cannot be written to',
    remedy: 'Check who owns it (`ls -ld . node_modules .venv`), then run the same command again.',
  },
  {
    // pip says the same when it could not reach the registry and when there is no such build.
    pattern: /No matching distribution found|EBADPLATFORM/,
    message: 'A package could not be found for this machine and this Python',
    remedy:
      'Check the network and the proxy settings first. Supported are Python 3.11 to 3.13 on Linux (glibc) and macOS; PYTHON=/path/to/python3 chooses one.',
  },
]

/**
 * The error for a program that failed: a known cause with its remedy, or the end of its output.
 *
 * @param {string} command as the user would type it
 * @param {string} output everything it printed
 */
export function explain(command, output) {
  // pip repeats this for each place in PIP_FIND_LINKS that does not exist.
  const lines = output.trim().split('\n')
  const tail = lines.filter((line) => !line.includes('is ignored: it is neither')).slice(-15)
  const cause = knownCauses.find(({ pattern }) => pattern.test(output))
  return new SetupError(
    cause?.message ?? `\`${command}\` failed`,
    cause?.remedy ??
      'The end of its output is above. Repair the cause, then run the same command again.',
    tail.join('\n'),
  )
}
