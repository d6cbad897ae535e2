import { once } from 'node:events'
import { createServer } from 'node:net'

/** A name that nobody else on this machine has until it is given back. */
export type HeldName = { release(): void }

/**
 * Takes a name that at most one process of this machine can have: undefined when another has it. The
 * kernel gives it back when the process ends, however it ends, so there is no stale lock to judge.
 *
 * It is the name of an abstract socket, which only Linux knows; elsewhere every name is given, and
 * what is guarded by it is guarded less well.
 */
export async function holdName(name: string): Promise<HeldName | undefined> {
  if (process.platform !== 'linux') return { release: () => undefined }
  const server = createServer((stranger) => stranger.destroy())
  server.unref()
  try {
    server.listen({ path: `\0avatar-api:${name}` })
    await once(server, 'listening')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') return undefined
    throw error
  }
  return { release: () => server.close() }
}
