import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stackFileSchema } from '../src/stack/stack-file.ts'
import { avatar, launch, readyUrl } from './cli-run.ts'

/** The `null` engine, and waits that are ten times shorter. */
export const quick = { ENGINE: 'null', TIMINGS_DIVISOR: '10' }

/** Starts a system of its own by `avatar up` in this process; the services are processes as usual. */
export async function startSystem(env: Record<string, string> = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'avatar-cli-'))
  const data = join(folder, 'data')
  const up = launch(['up', '--data', data, '--port', '0'], { ...quick, ...env })
  const url = await readyUrl(up)
  return {
    /** A temporary folder that contains the data folder. */
    folder,
    data,
    up,
    url,
    /** Runs a command on this system. */
    here: (...args: string[]) => avatar([...args, '--data', data]),
    stackFile: async () =>
      stackFileSchema.strict().parse(JSON.parse(await readFile(join(data, 'stack.json'), 'utf8'))),
    /** Stops it by one Ctrl-C; returns the exit code. */
    async stop(): Promise<number> {
      up.signal('SIGINT')
      const exitCode = await up.exitCode
      await rm(folder, { recursive: true, force: true })
      return exitCode
    },
  }
}

export type System = Awaited<ReturnType<typeof startSystem>>
