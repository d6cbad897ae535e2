import { globSync } from 'node:fs'
import { join, resolve } from 'node:path'

/** The checkout that contains this file. */
export const repositoryRoot = resolve(import.meta.dirname, '../../..')

/** Where the programs of the stack are installed, all inside the checkout. */
export const installation = {
  natsServer: join(repositoryRoot, '.venv/bin/nats-server'),
  weed: join(repositoryRoot, '.venv/bin/weed'),
  python: join(repositoryRoot, '.venv/bin/python'),
} as const

/** Node's cache of compiled code: with it a killed service is back in half the time. */
export const compileCache = join(repositoryRoot, 'node_modules/.cache/avatar')

/** The ffmpeg that comes with the Python environment, or undefined before set-up. */
export function findFfmpeg(): string | undefined {
  const binaries = '.venv/lib/python*/site-packages/imageio_ffmpeg/binaries/ffmpeg-*'
  const [found] = globSync(binaries, { cwd: repositoryRoot })
  return found && join(repositoryRoot, found)
}
