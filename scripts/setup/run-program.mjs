import { spawn } from 'node:child_process'
import { delimiter, join } from 'node:path'
import { explain } from './failures.mjs'

/**
 * Runs a program to its end, in the root of the repository, without showing what it prints.
 *
 * @typedef {(program: string, args: readonly string[]) => Promise<void>} Run
 */

/**
 * @param {string} root
 * @param {(pid: number) => void} note called at once for each program, so that it can be ended if we are killed
 * @returns {Run} throws a SetupError with the end of the output if the program fails
 */
export function programRunner(root, note) {
  return async (program, args) => {
    // With a group of its own it can be ended together with everything that it started.
    const { code, output } = await runToEnd(root, program, args, { isGroup: true, note })
    if (code !== 0) throw explain([program, ...args].join(' '), output)
  }
}

/**
 * Asks a program something that takes a moment. Its failure is an answer too; 127: it does not exist.
 *
 * @param {string} root
 * @param {string} program
 * @param {readonly string[]} args
 */
export function askProgram(root, program, args) {
  return runToEnd(root, program, args, { isGroup: false, note: () => {} })
}

/**
 * @param {string} root
 * @param {string} program
 * @param {readonly string[]} args
 * @param {{ isGroup: boolean, note: (pid: number) => void }} options
 * @returns {Promise<{ code: number, stdout: string, output: string }>} `output` is stdout and stderr together
 */
function runToEnd(root, program, args, { isGroup, note }) {
  const child = spawn(program, args, {
    cwd: root,
    env: cleanEnvironment(root),
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: isGroup,
  })
  if (child.pid) note(child.pid)
  let stdout = ''
  let output = ''
  child.stdout.on('data', (chunk) => {
    stdout += chunk
    output += chunk
  })
  child.stderr.on('data', (chunk) => {
    output += chunk
  })
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ code: 127, stdout: '', output: String(error) }))
    child.once('close', (code) => resolve({ code: code ?? 1, stdout, output }))
  })
}

/**
 * Our own environment without what `npm run` and an active Python environment put there. The tools
 * in node_modules must not be found either: npm is about to delete them.
 */
function cleanEnvironment(/** @type {string} */ root) {
  const own = [join(root, 'node_modules', '.bin'), join(root, '.venv', 'bin')]
  const foreign =
    /^(npm_(package|lifecycle|command|execpath|node_execpath|config_(local_prefix|global_prefix|workspace|omit|include|node_gyp|user_agent|init_module))|NODE$|NODE_OPTIONS$|NODE_ENV$|INIT_CWD$|PYTHONPATH$|PYTHONHOME$|PYTHONSTARTUP$|VIRTUAL_ENV|__PYVENV|PIP_(USER|TARGET|PREFIX|ROOT|NO_INDEX$))/i
  const kept = Object.entries(process.env).filter(([name]) => !foreign.test(name))
  const path = (process.env.PATH ?? '').split(delimiter).filter((folder) => !own.includes(folder))
  return { ...Object.fromEntries(kept), PATH: path.join(delimiter) }
}
