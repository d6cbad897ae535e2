import { once } from 'node:events'
import { createServer } from 'node:net'

/** A name that nobody else on this machine can hold until it is released. */
export type HeldName = { release(): void }

/**
 * Takes a name that at most one process on this machine can hold; undefined when another process holds
 * it. The kernel releases the name when the process ends, however it ends, so no lock can go stale.
 *
 * The name is that of an abstract socket, which only Linux has. Elsewhere every name is given, and
 * nothing guards against two holders.
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
