import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
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
    const child = spawn(program, args, {
      cwd: root,
      env: cleanEnvironment(root),
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true, // With a group of its own it can be ended together with everything that it started.
    })
    if (child.pid) note(child.pid)
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk) => {
        output += chunk
      })
    const [code] = await once(child, 'close').catch((error) => {
      output = String(error)
      return [127]
    })
    if (code !== 0) throw explain([program, ...args].join(' '), output)
  }
}

/**
 * Asks a program something that takes a moment: what it printed, or undefined if it failed or does not exist.
 *
 * @param {string} root
 * @param {string} program
 * @param {readonly string[]} args
 */
export function askProgram(root, program, args) {
  const env = cleanEnvironment(root)
  const { status, stdout } = spawnSync(program, args, { cwd: root, env, encoding: 'utf8' })
  return status === 0 ? stdout : undefined
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
