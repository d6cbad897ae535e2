import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ServiceName, serviceNames } from '@avatar/contracts'

const preload = join(import.meta.dirname, 'preload.ts')

/** In every Python process of a system, as `preload.ts` is in every Node process. */
const sitecustomize = `
import os, pathlib, signal

def fail(number, frame):
    exec(pathlib.Path(os.environ["AVATAR_TEST_OUTPUT"], "fail.py").read_text())

signal.signal(signal.SIGUSR2, fail)
`

export type RawOutput = Awaited<ReturnType<typeof keepRawOutput>>

/**
 * Keeps what the processes of a system write, byte by byte, and lets them fail: `env` is for
 * `startSystem`. A process runs the program of \`failBy\` when it gets SIGUSR2.
 */
export async function keepRawOutput() {
  const folder = await mkdtemp(join(tmpdir(), 'avatar-output-'))
  await writeFile(join(folder, 'sitecustomize.py'), sitecustomize)

  async function textOf(isWanted: (name: string) => boolean): Promise<string> {
    const names = (await readdir(folder)).filter(isWanted)
    return (await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')))).join('')
  }

  return {
    folder,
    env: {
      AVATAR_TEST_OUTPUT: folder,
      NODE_OPTIONS: `--import ${preload}`,
      SIDECAR_PYTHONPATH: folder,
    },
    failBy: (language: 'js' | 'py', program: string) =>
      writeFile(join(folder, `fail.${language}`), program),
    /** Everything that all processes wrote, the servers too. */
    all: () => textOf((name) => /\.(stdout|stderr)$/.test(name)),
    /** The lines of the services, or of one. */
    async lines(services: readonly ServiceName[] = serviceNames): Promise<string[]> {
      const text = await textOf(
        (name) =>
          services.some((service) => name.startsWith(`${service}.`)) && /\.std\w+$/.test(name),
      )
      return text.split('\n').filter(Boolean)
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}
