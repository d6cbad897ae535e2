import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'

/** SeaweedFS puts them here whatever `TMPDIR` says. */
const socketFolder = '/tmp'
/** Its gRPC ports are so much above the ports that it is given. */
const grpcOffset = 10_000

/**
 * Removes the socket files that an SeaweedFS server leaves behind, of which each has a port of that server in
 * its name; not before it has ended. One that was killed leaves all of them, one that was stopped some.
 */
export async function removeSeaweedSockets(ports: readonly number[], folder = socketFolder) {
  const its = new Set(ports.flatMap((port) => [port, port + grpcOffset]))
  for (const name of await readdir(folder).catch(() => [])) {
    const port = /^seaweedfs-[a-z0-9-]+-(\d+)\.sock$/.exec(name)?.[1]
    if (port && its.has(Number(port))) await rm(join(folder, name), { force: true })
  }
}
