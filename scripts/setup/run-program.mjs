import { spawn } from 'node:child_process'
import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { explain } from './failures.mjs'
import { identityOf, isAlive, read } from './process-identity.mjs'

/** Beside the lock, one file for each program that runs: whoever comes later can end it. */
const running = '.setup.lock.runs.'

/**
 * Runs a program to its end without showing what it prints, unless it fails. Only for the holder of
 * the lock: whoever takes the lock after it was killed ends the program too.
 *
 * @param {string} root the repository, which is where it runs
 * @param {string} program
 * @param {readonly string[]} args
 */
export async function runProgram(root, program, args) {
  const child = start(root, program, args, true)
  const note = join(root, `${running}${child.pid}`)
  if (child.pid) writeFileSync(note, identityOf(child.pid))
  const { code, output } = await endOf(child)
  rmSync(note, { force: true })
  if (code !== 0) throw explain([program, ...args].join(' '), output)
}

/**
 * Asks a program something that takes a moment. Its failure is an answer too; 127: it does not exist.
 *
 * @param {string} root
 * @param {string} program
 * @param {readonly string[]} args
 */
export function askProgram(root, program, args) {
  return endOf(start(root, program, args, false))
}

/** With a group of its own, it can be ended together with everything that it started. */
function start(
  /** @type {string} */ root,
  /** @type {string} */ program,
  /** @type {readonly string[]} */ args,
  /** @type {boolean} */ hasOwnGroup,
) {
  return spawn(program, args, {
    cwd: root,
    env: cleanEnvironment(root),
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: hasOwnGroup,
  })
}

function endOf(/** @type {ReturnType<typeof start>} */ child) {
  return new Promise(
    (/** @type {(end: { code: number, stdout: string, output: string }) => void} */ resolve) => {
      let stdout = ''
      let output = ''
      child.stdout.on('data', (chunk) => {
        stdout += chunk
        output += chunk
      })
      child.stderr.on('data', (chunk) => {
        output += chunk
      })
      child.once('error', (error) => resolve({ code: 127, stdout: '', output: String(error) }))
      child.once('close', (code) => resolve({ code: code ?? 1, stdout, output }))
    },
  )
}

/** Ends every program that this set-up, or one that was killed, has started and not seen end. */
export function endPrograms(/** @type {string} */ root) {
  for (const file of readdirSync(root).filter((name) => name.startsWith(running))) {
    const identity = read(join(root, file))
    try {
      if (isAlive(identity)) process.kill(-Number.parseInt(identity, 10), 'SIGKILL')
    } catch {
      // It ended by itself between the look and the signal.
    }
    rmSync(join(root, file), { force: true })
  }
}

/**
 * Our own environment without what `npm run` and an active Python environment put there. The tools
 * in node_modules must not be found either: they are about to be deleted and made again.
 */
function cleanEnvironment(/** @type {string} */ root) {
  const own = [join(root, 'node_modules', '.bin'), join(root, '.venv', 'bin')]
  const foreign =
    /^(npm_(package|lifecycle|command|execpath|node_execpath|config_(local_prefix|global_prefix|workspace|omit|include|node_gyp|user_agent|init_module))|NODE$|NODE_OPTIONS$|NODE_ENV$|INIT_CWD$|PYTHONPATH$|PYTHONHOME$|PYTHONSTARTUP$|VIRTUAL_ENV|__PYVENV|PIP_(USER|TARGET|PREFIX|ROOT|NO_INDEX$))/i
  const kept = Object.entries(process.env).filter(([name]) => !foreign.test(name))
  const path = (process.env.PATH ?? '').split(delimiter).filter((folder) => !own.includes(folder))
  return { ...Object.fromEntries(kept), PATH: path.join(delimiter) }
}
