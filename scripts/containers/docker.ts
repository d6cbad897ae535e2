import { execFile, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const root = join(import.meta.dirname, '../..')
/** What comes from PyPI and is needed here alone: Compose, and Caddy for its stand-in. */
const ownPrograms = join(root, '.tools/containers')
const mostOutputBytes = 64 * 1024 * 1024
/** `!reset` and `include` of several files. */
const oldestCompose = [2, 24]

export type ProgramOptions = { cwd?: string; signal?: AbortSignal | undefined }

/**
 * Runs a program to its end and returns what it printed. When the signal aborts, it is killed.
 *
 * @throws Error with what it wrote to standard error, when it fails
 */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<string> {
  const { stdout } = await run(program, args, { ...options, maxBuffer: mostOutputBytes })
  return stdout
}

/** Runs `docker` to its end. @throws when it fails */
export function docker(args: readonly string[], signal?: AbortSignal): Promise<string> {
  return runProgram('docker', args, { signal })
}

/** Whether an engine answers at DOCKER_HOST, or at the usual socket. */
export function hasEngine(env: NodeJS.ProcessEnv = process.env): boolean {
  return spawnSync('docker', ['info'], { stdio: 'ignore', timeout: 20_000, env }).status === 0
}

export function hasImage(name: string): boolean {
  return spawnSync('docker', ['image', 'inspect', name], { stdio: 'ignore' }).status === 0
}

/** How Compose is called: the engine's plugin, a program, or one of our own. */
export async function findCompose(signal?: AbortSignal): Promise<readonly string[]> {
  const installed = [['docker', 'compose'], ['docker-compose']].find(isNewEnough)
  return installed ?? [await ownProgram('docker-compose', signal)]
}

/** The path of a program of `programs.lock`, which is fetched once. */
export async function ownProgram(name: string, signal?: AbortSignal): Promise<string> {
  const path = join(ownPrograms, 'bin', name)
  if (existsSync(path)) return path
  const options = ['--quiet', '--no-deps', '--require-hashes', '--upgrade', '--target', ownPrograms]
  const lock = join(import.meta.dirname, 'programs.lock')
  const python = join(root, '.venv/bin/python')
  await runProgram(python, ['-m', 'pip', 'install', ...options, '-r', lock], { signal })
  if (!existsSync(path)) throw new Error(`${name} could not be installed.`)
  return path
}

function isNewEnough([program = '', ...args]: readonly string[]): boolean {
  const { status, stdout } = spawnSync(program, [...args, 'version', '--short'], {
    encoding: 'utf8',
  })
  if (status !== 0) return false
  const [major = 0, minor = 0] = stdout.trim().replace(/^v/, '').split('.').map(Number)
  const [oldestMajor = 0, oldestMinor = 0] = oldestCompose
  return major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)
}
